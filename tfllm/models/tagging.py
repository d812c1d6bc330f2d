"""The head of tagging: a tag for every token, from which entities, or words with their tags, are read.

In: an encoder. Out: a functional model. B rows, T tokens, C tags.
"""

from collections.abc import Sequence

import keras
from keras import ops

from tfllm import checks
from tfllm.models.encoder import kernel_initializer
from tfllm.models.recipe import remember
from tfllm.models.trainable import TrainableModel
from tfllm.tags import make_tags

_MOST_TAGS = 40  # with more, a table of tags by tags for every token would take too much memory
_PACE = 30.0  # how many times faster than other weights the scores of pairs of tags learn


def add_tagger_head(
    encoder: keras.Model,
    labels: Sequence[str],
    *,
    kind: str = "entities",
    dropout: float = 0.1,
    chain: bool = True,
    whole_words: bool = False,
) -> keras.Model:
    """Finds entities in a text, or its words and the tag of each.

    Args:
        encoder: the encoder to build on.
        labels: distinct names: types of entities, or tags of words.
        kind: "entities" or "words".
        dropout: share of the token vectors dropped in training.
        chain: learn which tag follows which (a conditional random field). Published checkpoints have none.
        whole_words: a word's first token speaks for the word, so that nothing begins or ends inside one. It changes no
            weight and no output: it says how the output is read, and goes with the saved model.

    Returns:
        Functional model. Inputs: the encoder's; rows may hold several texts. Output: float32 (B, T, C, C), the
        log-probability of each tag after each tag, see `TagChain`; the tags are `tfllm.tags.make_tags(labels, kind)`,
        in their order. Or, without a chain or if they are more than 40, logits float32 (B, T, C). `TaggingLoss` takes
        either.

    Raises:
        InputError: for no label, repeated or empty ones, or a bad argument.

    Source: Devlin et al. 2019, arXiv:1810.04805, section 5.3. Differs: a conditional random field on top; and it can
    tag every token, not the first of each word alone, for what begins and ends inside words.
    """
    labels = list(labels)
    tags = make_tags(labels, kind)
    checks.check_dropout(dropout)
    x = keras.layers.Dropout(dropout, name="tagger_dropout")(encoder.output["sequence_output"])
    x = keras.layers.Dense(len(tags.names), kernel_initializer=kernel_initializer(), dtype="float32", name="logits")(x)
    if chain and len(tags.names) <= _MOST_TAGS:
        x = TagChain(dtype="float32", name="tag_chain")(x, encoder.input["padding_mask"])
    model = TrainableModel(encoder.input, x, name="tagger")
    arguments = {"labels": labels, "kind": kind, "dropout": dropout, "chain": chain, "whole_words": whole_words}
    return remember(model, "add_tagger_head", arguments, encoder)


@keras.saving.register_keras_serializable("tfllm")
class TagChain(keras.layers.Layer):
    """A conditional random field: how likely each tag of a token is after each tag of the token before.

    A sequence of tags scores the sum of its tokens' logits and of a learned number for each pair of neighbours (for the
    first tag, one for itself). Its probability is the product of the probabilities given here, each of which takes all
    that may follow into account; so the loss is one of tokens, and texts can share a row. The first and the last token
    of a text, [CLS] and [SEP], are not part of the sequence.

    Call: (logits float (B, T, C), padding_mask int32 (B, T)) -> float32 (B, T, C, C): [b, t, i, j] is the
    log-probability of tag j at token t after tag i at token t - 1; of a text's first tag, whatever i is.
    Example: C = 2, all weights and logits 0 -> log(1/2) everywhere.
    Source: Lafferty, McCallum and Pereira 2001, Conditional random fields. Differs: normalised token by token, with
    the backward sums, which is the same distribution.
    """

    def build(self, logits_shape, padding_mask_shape):
        count = logits_shape[-1]
        self.first = self.add_weight(name="first", shape=(count,), initializer="zeros")
        self.pairs = self.add_weight(name="pairs", shape=(count, count), initializer="zeros")

    def call(self, logits, padding_mask):
        first, pairs = _PACE * self.first, _PACE * self.pairs
        one = ops.ones_like(padding_mask[:, :1])
        goes_on = ops.cast(ops.equal(padding_mask[:, 1:], padding_mask[:, :-1]), "int32")
        is_cls = ops.concatenate([one, 1 - goes_on], axis=1)  # (B, T): not of the text of the token before
        begins = ops.concatenate([0 * one, is_cls[:, :-1]], axis=1)
        is_sep = ops.concatenate([1 - goes_on, one], axis=1)
        followed = 1 - ops.concatenate([is_sep[:, 1:], one], axis=1)
        ahead = _backward(logits, ops.cast(followed, "float32"), pairs)
        before = ops.where(begins[:, :, None, None] == 1, first, pairs)  # (B, T, C, C)
        return ops.log_softmax(before + (logits + ahead)[:, :, None, :])

    def compute_output_spec(self, logits, padding_mask):
        return keras.KerasTensor((*logits.shape, logits.shape[-1]), dtype="float32")


def _backward(logits, followed, pairs):
    """What may follow each tag of each token, float32 (B, T, C): logarithms of sums, up to a number for each token.

    Args:
        logits: (B, T, C).
        followed: (B, T), 1 where the next token is part of the same sequence, else 0.
        pairs: (C, C).
    """

    def back(coming, token):  # (B, C), (B, C + 1)
        ahead = coming * token[:, -1:]
        passed = ops.logsumexp(pairs + (token[:, :-1] + ahead)[:, None, :], axis=-1)
        return ops.log_softmax(passed), ahead

    # One array: on TensorFlow Keras 3.15 cannot scan several of unknown length.
    tokens = ops.transpose(ops.concatenate([logits, followed[:, :, None]], axis=-1), (1, 0, 2))
    _, ahead = ops.scan(back, ops.zeros_like(logits[:, 0]), tokens, reverse=True)
    return ops.transpose(ahead, (1, 0, 2))
