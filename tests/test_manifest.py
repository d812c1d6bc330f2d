"""A stage's directory is there whole or not at all, and says what is wrong with it."""

import hashlib
import os
import subprocess
import sys
import textwrap

import pytest

from tfllm import manifest
from tfllm.checks import InputError


def write(path, kind="model", **arguments):
    with manifest.write_directory(path, kind, arguments) as beside:
        (beside / "inner").mkdir()
        (beside / "inner" / "a.txt").write_text("a", "utf-8")
    return path


def edit(path, **changes):
    manifest.write_manifest(path, {**manifest.read_manifest(path, "tokenizer"), **changes})


def test_a_directory_says_what_it_is_and_what_made_it(tmp_path):
    data = tmp_path / "data.csv"
    data.write_bytes(b"text,label\n")
    with manifest.write_directory(
        tmp_path / "m", "model", {"epochs": 3, "text": "文本"}, seed=7, inputs=[data]
    ) as beside:
        (beside / "a.txt").write_bytes(b"a")
        assert not (tmp_path / "m").exists()
    found = manifest.read_manifest(tmp_path / "m", "model")
    assert found["format"] == manifest.FORMAT
    assert found["kind"] == "model"
    assert found["arguments"] == {"epochs": 3, "text": "文本"}
    assert found["seed"] == 7
    assert found["inputs"] == {str(data): hashlib.sha256(b"text,label\n").hexdigest()}
    assert found["files"] == {"a.txt": hashlib.sha256(b"a").hexdigest()}
    assert {"tfllm", "python", "tensorflow", "keras", "keras-hub"} <= set(found["versions"])
    manifest.check_files(tmp_path / "m", found)
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []


def test_nothing_is_left_when_the_block_raises(tmp_path):
    with pytest.raises(RuntimeError, match="halfway"), manifest.write_directory(tmp_path / "m", "model", {}) as beside:
        (beside / "a.txt").touch()
        raise RuntimeError("halfway")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_when_an_input_cannot_be_hashed(tmp_path):
    with (
        pytest.raises(FileNotFoundError),
        manifest.write_directory(tmp_path / "m", "model", {}, inputs=[tmp_path / "gone.csv"]),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_process_killed_while_it_writes_leaves_nothing_under_the_name(tmp_path):
    program = """
        import os, signal, sys
        from tfllm import manifest
        with manifest.write_directory(sys.argv[1], "model", {}) as beside:
            (beside / "a.txt").write_text("a")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    path = tmp_path / "m"
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(program), str(path)]).returncode == -9
    assert not path.exists()
    write(path)
    manifest.read_manifest(path, "model")


@pytest.mark.parametrize("taken", ["file", "directory"])
def test_a_taken_place_is_refused_and_left_alone(tmp_path, taken):
    path = tmp_path / "m"
    if taken == "file":
        path.write_text("mine", "utf-8")
    else:
        path.mkdir()
        (path / "mine.txt").write_text("mine", "utf-8")
    with pytest.raises(InputError, match="already exists"):
        write(path)
    assert (path if taken == "file" else path / "mine.txt").read_text("utf-8") == "mine"


def test_an_empty_directory_and_missing_parents_are_filled(tmp_path):
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "x" / "y" / "z"):
        assert manifest.read_manifest(write(path), "model")["files"].keys() == {"inner/a.txt"}


def test_a_link_to_an_empty_directory_is_filled_and_stays(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "m").symlink_to("disk")
    manifest.check_free(tmp_path / "m")
    write(tmp_path / "m")
    assert (tmp_path / "m").is_symlink()
    assert {entry.name for entry in (tmp_path / "disk").iterdir()} == {"inner", "manifest.json"}
    manifest.check_files(tmp_path / "disk", manifest.read_manifest(tmp_path / "disk", "model"))


@pytest.mark.parametrize("training", [False, True])
def test_a_mounted_directory_is_filled(tmp_path, training):
    """As a container has for what it shall write: nothing can be renamed into it from beside, nor it be replaced."""
    mounted = tmp_path / "m"
    mounted.mkdir()
    if os.system(f"mount -t tmpfs -o size=100k tmpfs {mounted} 2>/dev/null"):
        pytest.skip("a file system of its own cannot be mounted here")
    try:
        manifest.check_free(mounted)
        if training:
            (mounted / manifest.RUN).mkdir()
        with manifest.write_directory(mounted, "model", {}, finish_run=training) as beside:
            (beside / "a.txt").write_text("a", "utf-8")
        assert {entry.name for entry in mounted.iterdir()} == {"a.txt", "manifest.json"}
    finally:
        os.system(f"umount {mounted}")


def test_what_a_killed_process_left_in_an_empty_directory_does_not_take_its_place(tmp_path):
    (tmp_path / "m" / ".m.123.unfinished").mkdir(parents=True)
    manifest.read_manifest(write(tmp_path / "m"), "model")


def test_what_came_to_an_empty_directory_meanwhile_stays(tmp_path):
    (tmp_path / "m").mkdir()
    with pytest.raises(InputError, match="already exists"), manifest.write_directory(tmp_path / "m", "model", {}):
        (tmp_path / "m" / "mine.txt").write_text("mine", "utf-8")
    assert [entry.name for entry in (tmp_path / "m").iterdir()] == ["mine.txt"]


def test_names_of_files_that_are_no_text_are_kept(tmp_path):
    file = tmp_path / os.fsdecode(b"\xfcbung.csv")  # as an old archive unpacks to
    file.touch()
    with manifest.write_directory(tmp_path / "m", "model", {"data": [str(file)]}, inputs=[file]):
        pass
    found = manifest.read_manifest(tmp_path / "m", "model")
    assert (found["arguments"]["data"], [*found["inputs"]]) == ([str(file)], [str(file)])


def test_a_file_and_a_published_model_in_place_of_a_directory_are_told(tmp_path):
    (tmp_path / "config.json").touch()
    with pytest.raises(InputError, match=r"config\.json is a file, not a tokenizer directory"):
        manifest.read_manifest(tmp_path / "config.json", "tokenizer")
    with pytest.raises(InputError, match="holds a published model, which is imported first: tfllm import hf:ORG/NAME"):
        manifest.read_manifest(tmp_path, "model")
    with pytest.raises(InputError, match=r"no such directory\. A published model is imported first"):
        manifest.read_manifest("bert-base-uncased", "model")
    with pytest.raises(InputError, match=r"no such directory \(did you mean '.*config.json'\?\)\.$"):
        manifest.read_manifest(tmp_path / "config", "model")


def test_a_missing_directory_and_an_unfinished_one_are_told_apart(tmp_path):
    with pytest.raises(InputError, match="no such directory"):
        manifest.read_manifest(tmp_path / "m", "model")
    with pytest.raises(InputError, match=r"has no manifest\.json.*did not finish"):
        manifest.read_manifest(tmp_path, "model")


def test_an_unfinished_training_says_that_its_command_finishes_it(tmp_path):
    (tmp_path / manifest.RUN).mkdir()
    with pytest.raises(
        InputError, match="a training that is not finished: the command that began it, given again, finishes"
    ):
        manifest.read_manifest(tmp_path, "model")


@pytest.mark.parametrize("place", ["movies", "movies/1"])
def test_a_savedmodel_in_place_of_a_model_is_told_and_what_to_give(tmp_path, place):
    write(tmp_path / "movies" / "1", kind="savedmodel")
    (tmp_path / "movies" / "1" / "saved_model.pb").touch()
    with pytest.raises(InputError, match=r"is a SavedModel, not a model directory\. Give the model directory it was"):
        manifest.read_manifest(tmp_path / place, "model")


def test_a_foreign_savedmodel_is_told_too(tmp_path):
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(InputError, match="is a SavedModel, not a tokenizer directory"):
        manifest.read_manifest(tmp_path, "tokenizer")
    with pytest.raises(InputError, match=r"has no manifest\.json"):
        manifest.read_manifest(tmp_path, "savedmodel")


def test_an_export_for_transformers_in_place_of_a_model_is_told(tmp_path):
    path = write(tmp_path / "m", kind="huggingface")
    with pytest.raises(InputError, match=r"is an export for transformers, not a model directory\. Give the model"):
        manifest.read_manifest(path, "model")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"kind": "model", "format": 1}', b"\xff\xfe"])
def test_a_damaged_manifest_is_an_input_error(tmp_path, content):
    (tmp_path / manifest.FILE_NAME).write_bytes(content)
    with pytest.raises(InputError, match="is damaged"):
        manifest.read_manifest(tmp_path, "model")


def test_every_flipped_bit_of_a_manifest_is_noticed(tmp_path):
    file = write(tmp_path / "m", epochs=3) / manifest.FILE_NAME
    content = file.read_bytes()
    for place in range(0, len(content), 7):
        changed = bytearray(content)
        changed[place] ^= 1 << (place % 8)
        file.write_bytes(changed)
        with pytest.raises(InputError):
            manifest.read_manifest(tmp_path / "m", "model")


def test_the_directory_of_an_unfinished_training_is_finished_or_left_alone(tmp_path):
    path = tmp_path / "m"
    (path / "run").mkdir(parents=True)  # somebody's own
    with pytest.raises(InputError, match="already exists"):
        manifest.check_free(path, or_unfinished=True)
    (path / "run").rename(path / manifest.RUN)
    with pytest.raises(InputError, match="a training that is not finished"):
        write(path)
    with manifest.write_directory(path, "model", {}, finish_run=True) as beside:
        (beside / "a.txt").write_text("a", "utf-8")
    assert {entry.name for entry in path.iterdir()} == {"a.txt", "manifest.json"}
    manifest.check_files(path, manifest.read_manifest(path, "model"))


def test_a_directory_of_another_kind_or_format_is_refused(tmp_path):
    path = write(tmp_path / "t", kind="tokenizer")
    with pytest.raises(InputError, match="holds a tokenizer, not a model"):
        manifest.read_manifest(path, "model")
    edit(path, format=99)
    with pytest.raises(InputError, match=r"has format 99.*reads format 1"):
        manifest.read_manifest(path, "tokenizer")


def test_a_flipped_bit_and_a_missing_file_are_noticed(tmp_path):
    path = write(tmp_path / "m")
    found, file = manifest.read_manifest(path, "model"), path / "inner" / "a.txt"
    file.write_bytes(bytes([file.read_bytes()[0] ^ 1]))
    with pytest.raises(InputError, match=r"a\.txt is damaged"):
        manifest.check_files(path, found)
    file.unlink()
    with pytest.raises(InputError, match=r"a\.txt is missing"):
        manifest.check_files(path, found)


def test_updated_texts_are_hashed_and_the_rest_stays(tmp_path):
    path = write(tmp_path / "m", epochs=3)
    before = manifest.read_manifest(path, "model")
    manifest.update_files(path, "model", {"README.md": "# 模型\n", "scores/test.json": "{}\n"})
    after = manifest.read_manifest(path, "model")
    assert (path / "README.md").read_text("utf-8") == "# 模型\n"
    assert after["files"].keys() == {"inner/a.txt", "scores/test.json"}
    assert {**after, "files": None} == {**before, "files": None}
    manifest.check_files(path, after)


def test_people_may_edit_the_card(tmp_path):
    with manifest.write_directory(tmp_path / "m", "model", {}) as beside:
        (beside / manifest.CARD).write_text("# Mine\n", "utf-8")
    (tmp_path / "m" / manifest.CARD).write_text("# Mine, with a remark\n", "utf-8")
    manifest.check_files(tmp_path / "m", manifest.read_manifest(tmp_path / "m", "model"))


def test_updating_a_directory_of_another_kind_is_refused(tmp_path):
    path = write(tmp_path / "t", kind="tokenizer")
    with pytest.raises(InputError, match="holds a tokenizer"):
        manifest.update_files(path, "model", {"README.md": "x"})
    assert not (path / "README.md").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, which nobody can write")
def test_a_place_that_cannot_be_written_is_named_as_it_was_given():
    with pytest.raises(InputError, match=r"^/proc/model cannot be written: No such file or directory\.$"):
        manifest.check_free("/proc/model")
