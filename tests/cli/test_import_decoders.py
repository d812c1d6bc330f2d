"""`tfllm import` of models that write: llama2.c's files, golden ids, the SavedModel; broken files end with code 2."""

import json
import logging
import re
import sys

import numpy as np
import pytest

import tfllm
from tfllm import cli, models
from tfllm.checks import InputError
from tfllm.cli.import_ import import_checkpoint
from tfllm.export import export_huggingface, export_savedmodel, load_generator
from tfllm.tokenizers import train_byte_bpe

GOLDEN = (
    "319 459 355 260 275 429 339 315 374 327 446 262 421 392 275 280 269 440 270 283 446 299 303 266 358 430 312 379 "
    "441 260"
)


@pytest.fixture(scope="module")
def files(shared_models):
    """The model of llama2.c's format that was really trained, and its tokenizer."""
    return shared_models / "aidreams_260k" / "aidreams260K.bin", shared_models / "aidreams_260k" / "tok512.bin"


@pytest.fixture(scope="module")
def imported(files, tmp_path_factory):
    """It as a model directory."""
    out = tmp_path_factory.mktemp("models") / "dreams"
    found = import_checkpoint(str(files[0]), out, tokenizer_file=files[1], sequence_length=48)
    assert (found["class_name"], found["sequence_length"]) == ("LlamaForCausalLM", 48)
    return out


def test_the_ids_are_golden(imported):
    model, tokenizer = models.load_model(imported), tfllm.load_tokenizer(imported)
    ids = [tokenizer.cls_id]
    for _ in GOLDEN.split():
        row = np.array([ids + [0] * (31 - len(ids))], "int32")
        logits = model({"token_ids": row, "padding_mask": (np.arange(31) < len(ids)).astype("int32")[None]})
        ids.append(int(np.argmax(logits[0, len(ids) - 1])))
    assert " ".join(map(str, ids[1:])) == GOLDEN


@pytest.mark.slow
def test_python_and_the_saved_model_write_the_golden_text(imported, tmp_path):
    model, tokenizer = models.load_model(imported), tfllm.load_tokenizer(imported)
    expected = tokenizer.detokenize([list(map(int, GOLDEN.split()))]).numpy()[0].decode()
    models.set_generation(model, max_new_tokens=30)
    written = tfllm.TextGenerator(model, tokenizer, 48).generate([""])
    assert written[0]["text"] == expected
    export_savedmodel(model, tokenizer, tmp_path / "dreams", sequence_length=48)
    assert load_generator(tmp_path / "dreams").generate(["", "I dream"])[0]["text"] == expected


def test_a_long_context_is_said_to_be_cut(files, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("tfllm.cli.import_._LONGEST_WRITTEN", 100)
    with caplog.at_level(logging.INFO, logger="tfllm"):
        found = import_checkpoint(str(files[0]), tmp_path / "out", tokenizer_file=files[1])
    assert found["sequence_length"] == 100
    assert "texts are cut at 100 of 128 tokens; --sequence-length changes it" in caplog.text


BROKEN = {  # name -> (content of model.bin, of tok.bin, what is said)
    "cut": (lambda content: content[:-4], None, "or not whole: by its header it has"),
    "longer": (lambda content: content + b"1234", None, "or not whole: by its header it has"),
    "empty": (lambda content: b"", None, "ends within its header"),
    "negative": (lambda content: b"\xff" * 8 + content[8:], None, "must be a whole number"),
    "gigantic": (lambda content: b"\xff\xff\xff\x7f" + content[4:], None, "must be a whole number"),
    "many_positions": (lambda content: content[:24] + b"\x00\x00\x0f\x00" + content[28:], None, "or not whole: by its"),
    "not_finite": (lambda content: content[:28] + b"\xff\xff\xff\x7f" + content[32:], None, "infinite or none at all"),
    "no_tokenizer": (None, lambda content: b"", "must have 1 to 1,000,000 tokens"),
    "half_tokenizer": (None, lambda content: content[:-3], "or not whole"),
    "long_token": (None, lambda content: content[:8] + b"\xff\xff\xff\x7f" + content[12:], "or not whole: token 0"),
    "another_tokenizer": (None, lambda content: b"[PAD]\n[UNK]\n" * 9, "is no tokenizer of llama2.c"),
}


def test_broken_files_end_with_exit_code_2_and_a_line_or_two(files, tmp_path, monkeypatch, capsys):
    contents = [file.read_bytes() for file in files]
    for name, (*spoil, message) in BROKEN.items():
        folder = tmp_path / name
        folder.mkdir()
        for file, content, change in zip(("model.bin", "tok.bin"), contents, spoil, strict=True):
            (folder / file).write_bytes(change(content) if change else content)
        arguments = ["import", folder / "model.bin", "--tokenizer", folder / "tok.bin", "--out", folder / "out"]
        monkeypatch.setattr(sys, "argv", ["tfllm", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        said = capsys.readouterr().err
        assert stop.value.code == 2, name
        assert re.search(message, " ".join(said.split())), (name, said)
        assert "Traceback" not in said and not (folder / "out").exists()


def test_a_decoder_whose_tokenizer_only_appends_a_token_is_refused(tmp_path):
    tokenizer = train_byte_bpe(["the film was good"], vocabulary_size=260)
    size = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 16, "max_sequence_length": 16}
    model = models.add_causal_lm_head(models.build_decoder(tokenizer.vocabulary_size, **size))
    export_huggingface(model, tokenizer, tmp_path / "theirs")
    file, end = tmp_path / "theirs" / "tokenizer.json", {"SpecialToken": {"id": "</s>", "type_id": 0}}
    document = json.loads(file.read_text("utf-8"))
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    document["post_processor"] |= {"single": [first, end], "pair": [first, end, second, end]}
    file.write_text(json.dumps(document), "utf-8")
    with pytest.raises(InputError, match=r"one that puts nothing before a text, with \{'pad': .*'sep': '</s>'"):
        import_checkpoint(str(tmp_path / "theirs"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "message"), [("model.bin", "give its file by --tokenizer"), ("model.pt", "imports .gguf and .bin files")]
)
def test_a_file_alone_or_of_another_kind_is_refused(tmp_path, name, message):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=message):
        import_checkpoint(str(tmp_path / name), tmp_path / "out")
