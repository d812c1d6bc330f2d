"""What a training command refuses before anything is trained, what may change until it goes on, and what it keeps."""

import pytest

from tfllm import manifest
from tfllm.checks import InputError
from tfllm.cli import running
from tfllm.cli.finetune import finetune
from tfllm.cli.finetuning import FineTuning
from tfllm.cli.pretrain import pretrain
from tfllm.training.run import Memory


def test_text_that_is_malformed_far_on_is_told_before_training(corpus, tokenizer_directory, tmp_path):
    lines = corpus.read_bytes() + b"\n"
    (tmp_path / "corpus.txt").write_bytes(lines * 3 + b"bad \xff\n")
    with pytest.raises(InputError, match=r"corpus\.txt:\d+:5: byte 0xff"):
        pretrain(str(tmp_path / "corpus.txt"), tmp_path / "m", tokenizer=tokenizer_directory, steps=1, held_out=0.2)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size": "medum"}, "did you mean 'medium'"),
        ({"decay": "lin"}, "`decay` must be one of"),
        ({"precision": "fp16"}, "`precision` must be one of"),
        ({"on_divergence": "go"}, "`on_divergence` must be one of"),
        ({"save_minutes": -1}, "`save_seconds` must be at least 0"),
        ({"learning_rate": -1}, "`learning_rate` must be at least 0"),
        ({"learning_rate": float("inf")}, "`learning_rate` must be at least 0 and finite"),
        ({"micro_batches": 0}, "`micro_batches` must be between 1 and 32"),
        ({"micro_batches": 9, "batch_size": 8}, "`micro_batches` must be between 1 and 8"),
        ({"dropout": 2}, "`dropout` must be between 0 and 1"),
        ({"dropout": 1}, "`dropout` must be between 0 and 1, and not 1"),
    ],
)
def test_a_wrong_argument_is_told_before_all_text_is_read(arguments, message, corpus, tokenizer_directory, tmp_path):
    """The text is as malformed far on as above: who reads it first finds that."""
    (tmp_path / "corpus.txt").write_bytes((corpus.read_bytes() + b"\n") * 3 + b"bad \xff\n")
    with pytest.raises(InputError, match=message):
        pretrain(str(tmp_path / "corpus.txt"), tmp_path / "m", **{"tokenizer": tokenizer_directory, **arguments})


def test_logs_that_cannot_be_written_are_told(corpus, reviews, tokenizer_directory, tmp_path):
    for train, data in ((pretrain, corpus), (finetune, reviews)):
        with pytest.raises(InputError, match=r"reviews\.csv cannot be written: Not a directory"):
            train(str(data), tmp_path / "m", tokenizer=tokenizer_directory, tensorboard=reviews)


def test_a_corpus_without_text_to_train_on_is_refused(corpus, tokenizer_directory, tmp_path):
    with pytest.raises(InputError, match="All text falls into the held-out part"):
        pretrain(str(corpus), tmp_path / "m", tokenizer=tokenizer_directory, steps=1, held_out=1.0)


def test_a_share_of_validation_rows_beside_files_of_them_is_refused(reviews, tokenizer_directory, tmp_path):
    arguments = {"tokenizer": tokenizer_directory, "validation": [reviews], "validation_share": 0.3}
    with pytest.raises(InputError, match="give one"):
        finetune(str(reviews), tmp_path / "m", **arguments)


def begin(out, data, **arguments):
    """Begin a training, or go on with it, as the commands do."""
    with running.unfinished_run(out, "pretrain", {"steps": 5, "on_divergence": "stop"} | arguments, [str(data)]) as run:
        return run


def test_where_nothing_is_trained_yet_other_arguments_begin_anew(corpus, tmp_path):
    out = tmp_path / "m"
    run = begin(out, corpus)  # and killed at once
    begin(out, corpus, steps=6)
    with manifest.write_directory(run / "training" / "checkpoint-000001", "checkpoint", {}) as beside:
        (beside / "state.npz").touch()
    with pytest.raises(InputError, match="steps was 6, now 7"):
        begin(out, corpus, steps=7)


def test_a_training_that_diverged_may_go_on_without_such_batches(corpus, tmp_path):
    out = tmp_path / "m"
    run = begin(out, corpus)
    (run / "training").mkdir()
    (run / "training" / "bad-batch-3.npz").touch()
    begin(out, corpus, on_divergence="skip")


def test_a_model_tells_its_time_and_the_bytes_it_learnt_from_though_the_file_is_gone(
    reviews, tokenizer_directory, tmp_path, monkeypatch
):
    file, train = tmp_path / "reviews.csv", FineTuning.train
    file.write_bytes(reviews.read_bytes())

    def train_without_the_file(*arguments):
        file.unlink()
        return train(*arguments)

    monkeypatch.setattr(FineTuning, "train", train_without_the_file)
    monkeypatch.setattr(Memory, "seconds", 1000.2)
    options = {"size": "tiny", "epochs": 1, "batch_size": 16, "sequence_length": 16}
    finetune(str(file), tmp_path / "m", tokenizer=tokenizer_directory, **options)
    found = manifest.read_manifest(tmp_path / "m", "model")
    assert found["arguments"]["run"]["seconds"] == 1000
    assert found["inputs"] == {str(file): manifest.hash_file(reviews)}
