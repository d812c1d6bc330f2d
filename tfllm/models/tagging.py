"""The head of tagging: a tag for every token, from which entities, or words with their tags, are read.

In: an encoder. Out: a functional model. B rows, T tokens, C tags.
"""

from collections.abc import Sequence

import keras

from tfllm import checks
from tfllm.models.encoder import kernel_initializer
from tfllm.models.recipe import remember
from tfllm.models.trainable import TrainableModel
from tfllm.tags import make_tags


def add_tagger_head(
    encoder: keras.Model, labels: Sequence[str], *, kind: str = "entities", dropout: float = 0.1
) -> keras.Model:
    """Finds entities in a text, or its words and the tag of each.

    Args:
        encoder: the encoder to build on.
        labels: distinct names: types of entities, or tags of words.
        kind: "entities" or "words".
        dropout: share of the token vectors dropped in training.

    Returns:
        Functional model. Inputs: the encoder's; rows may hold several texts. Output: logits float32 (B, T, C), of the
        tags `tfllm.tags.make_tags(labels, kind)` in their order.

    Raises:
        InputError: for no label, repeated or empty ones, or a bad argument.

    Source: Devlin et al. 2019, arXiv:1810.04805, section 5.3. Differs: every token of a word is tagged, not its first
    alone, so that plain text can be tagged whose words nobody has marked.
    """
    labels = list(labels)
    tags = make_tags(labels, kind)
    checks.check_between("dropout", dropout, 0, 1)
    x = keras.layers.Dropout(dropout, name="tagger_dropout")(encoder.output["sequence_output"])
    logits = keras.layers.Dense(
        len(tags.names), kernel_initializer=kernel_initializer(), dtype="float32", name="logits"
    )(x)
    model = TrainableModel(encoder.input, logits, name="tagger")
    return remember(model, "add_tagger_head", {"labels": labels, "kind": kind, "dropout": dropout}, encoder)
