"""What memory.py looks at: each run of this file is one process that does one thing with a corpus."""

import shutil
from pathlib import Path

import contest


def main():
    asked = contest.request()
    if asked["work"] == "records":
        write_records(asked)
    else:
        pretrain(asked, whole=asked["work"] == "pretraining")


def pretrain(asked, *, whole: bool):
    import keras
    from memory import STEPS
    from step import SIZES

    import tfllm
    from tfllm.training.pretraining import compile_masked_lm

    tokenizer = read_tokenizer(asked)
    keras.config.set_dtype_policy(tfllm.choose_precision("auto"))
    model = tfllm.add_masked_lm_head(tfllm.build_encoder(tokenizer.vocabulary_size, **SIZES["mini"]))
    compile_masked_lm(model, tfllm.adamw(1e-3, total_steps=1000, warmup_steps=10))
    corpus = Path(asked["file"])
    if not whole:
        corpus = Path(asked["folder"]) / "short.txt"
        with open(asked["file"], encoding="utf-8") as stream:
            corpus.write_text("".join(stream.readline() for _ in range(1000)), "utf-8")
    batches = tfllm.masked_lm_dataset(corpus, tokenizer, sequence_length=128, batch_size=32)
    model.fit(batches, steps_per_epoch=STEPS, verbose=0, shuffle=False)
    if whole:
        for _ in tfllm.masked_lm_dataset(corpus, tokenizer, sequence_length=128, batch_size=32, repeat=False):
            pass


def write_records(asked):
    from tfllm.data import write_records

    records = Path(asked["folder"]) / "records"
    write_records(asked["file"], read_tokenizer(asked), records)
    shutil.rmtree(records)


def read_tokenizer(asked):
    from tfllm.tokenizers.wordpiece import WordPieceTokenizer, read_vocabulary

    return WordPieceTokenizer(read_vocabulary(Path(asked["vocabulary"])), lowercase=True)


if __name__ == "__main__":  # write_records starts processes that import this file
    main()
