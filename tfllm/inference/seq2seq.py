"""What a model writes after it has read a text, and how probable it holds a target.

B texts, T tokens of a target.
"""

from typing import TYPE_CHECKING

import tensorflow as tf

from tfllm.inference.generation import OUTPUTS, to_rows, writing_signatures

if TYPE_CHECKING:
    import keras

    from tfllm.inference.signatures import Signature
    from tfllm.tokenizers import Tokenizer

__all__ = ["OUTPUTS", "build_signatures", "to_rows"]


def build_signatures(
    model: "keras.Model", arguments: dict, tokenizer: "Tokenizer", sequence_length: int
) -> dict[str, "Signature"]:
    """The signatures of a model from `add_seq2seq_head`.

    Returns:
        serving_default, generate: as those of a model from `add_causal_lm_head`; the text is what belongs to the
            source, its translation say. The source is read once.
        score: text, target string (B,) -> log_prob float32 (B,), num_tokens int32 (B,), token_log_probs float32 (B, T);
            see `Seq2SeqWriter.score`.
    """
    from tfllm.generation.seq2seq_text import Seq2SeqWriter
    from tfllm.inference.signatures import TEXT, Signature
    from tfllm.writing import read_settings

    writer = Seq2SeqWriter(model, tokenizer, sequence_length, read_settings({}, arguments["generation"])[1])
    return {
        **writing_signatures(writer, arguments["generation"]),
        "score": Signature(
            tf.function(writer.score, autograph=False, reduce_retracing=True), {"text": TEXT, "target": TEXT}
        ),
    }
