"""Tokenizers and their trainers as workers of a contest (see contest.py)."""

from pathlib import Path

import contest
import numpy as np
from tokenizing import LENGTH, TEXTS_IN_A_BATCH


def main():
    asked = contest.request()
    {"encode": encode, "train": train}[asked["work"]](asked)


def encode(asked):
    """A turn makes ids of the whole text."""
    file = Path(asked["file"])
    texts = file.read_text("utf-8").split("\n")
    batches = {"tfllm": tfllm_batches, "tokenizers": rust_batches, "tokenizers_fast": rust_fast_batches}
    batch_ids = batches[asked["contender"]](asked["vocabulary"], texts)

    def turn() -> dict:
        tokens = sum(int((ids != 0).sum()) for ids in batch_ids())
        return {"megabytes": file.stat().st_size / 1e6, "tokens": tokens}

    contest.serve(turn)


def tfllm_batches(vocabulary, texts):
    import tensorflow as tf

    from tfllm.data.ahead import made_ahead
    from tfllm.tokenizers.wordpiece import WordPieceTokenizer, read_vocabulary

    tokenizer = WordPieceTokenizer(read_vocabulary(Path(vocabulary)), lowercase=True)
    dataset = tf.data.Dataset.from_tensor_slices(tf.constant(texts)).batch(TEXTS_IN_A_BATCH)

    def ids(batch):
        return tokenizer.wrap(tokenizer.tokenize(batch), LENGTH).to_tensor(tokenizer.pad_id, shape=(None, LENGTH))

    return made_ahead(dataset.map(ids, num_parallel_calls=tf.data.AUTOTUNE)).as_numpy_iterator


def rust_batches(vocabulary, texts, method="encode_batch"):
    from tokenizers import BertWordPieceTokenizer

    tokenizer = BertWordPieceTokenizer(vocabulary, lowercase=True)
    tokenizer.enable_truncation(LENGTH)
    tokenizer.enable_padding(length=LENGTH)
    encode_batch = getattr(tokenizer._tokenizer, method)

    def batches():
        for start in range(0, len(texts), TEXTS_IN_A_BATCH):
            encoded = encode_batch(texts[start : start + TEXTS_IN_A_BATCH])
            yield np.array([row.ids for row in encoded], np.int32)

    return batches


def rust_fast_batches(vocabulary, texts):
    """`encode_batch_fast` keeps no offsets."""
    return rust_batches(vocabulary, texts, "encode_batch_fast")


def train(asked):
    """A turn trains a vocabulary on the file."""
    file, size = Path(asked["file"]), asked["vocabulary_size"]
    trainers = {"tfllm": train_tfllm, "tokenizers": train_rust, "keras_hub": train_keras_hub}
    trainer = trainers[asked["contender"]](file, size)

    def turn() -> dict:
        return {"tokens": trainer(), "megabytes": file.stat().st_size / 1e6}

    contest.serve(turn)


def train_tfllm(file, size):
    from tfllm.data import read_texts
    from tfllm.tokenizers import train_wordpiece

    return lambda: train_wordpiece(read_texts(file), vocabulary_size=size).vocabulary_size


def train_rust(file, size):
    from tokenizers import BertWordPieceTokenizer

    def trained() -> int:
        tokenizer = BertWordPieceTokenizer(lowercase=True)
        tokenizer.train(str(file), vocab_size=size, show_progress=False)
        return tokenizer.get_vocab_size()

    return trained


def train_keras_hub(file, size):
    import tensorflow as tf
    from keras_hub.tokenizers import compute_word_piece_vocabulary

    dataset = tf.data.TextLineDataset(str(file)).batch(1024)
    return lambda: len(compute_word_piece_vocabulary(dataset, vocabulary_size=size, lowercase=True))


if __name__ == "__main__":
    main()
