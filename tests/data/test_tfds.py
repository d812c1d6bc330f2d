"""TensorFlow Datasets that are prepared on disk: one is built here, and read."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from tfllm.checks import InputError
from tfllm.data.sources import read_texts
from tfllm.data.tables import read_table
from tfllm.data.tfds import TfdsSource, parse_tfds

FILES = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
ROWS = {
    "train": [("fine", "positive", 4.5), ("糟糕", "negative", 1.0), ("so so", "positive", 3.0)],
    "test": [("poor", "negative", 1.5)],
}


def write_dataset(data_dir, name, splits):
    """A prepared data set with a text, a class label, a number and a list."""
    directory = data_dir / name / "1.0.0"
    directory.mkdir(parents=True)
    features = tfds.features.FeaturesDict(
        {
            "text": tfds.features.Text(),
            "label": tfds.features.ClassLabel(names=["negative", "positive"]),
            "stars": tfds.features.Scalar(np.float32),
            "words": tfds.features.Sequence(tfds.features.Text()),
        }
    )
    infos = []
    for split, rows in splits.items():
        file = directory / f"{name}-{split}.tfrecord-00000-of-00001"
        with tf.io.TFRecordWriter(str(file)) as writer:
            for text, label, stars in rows:
                example = {"text": text, "label": label, "stars": stars, "words": text.split()}
                writer.write(features.serialize_example(features.encode_example(example)))
        infos.append(tfds.core.SplitInfo(name=split, shard_lengths=[len(rows)], num_bytes=file.stat().st_size))
    tfds.folder_dataset.write_metadata(
        data_dir=directory, features=features, split_infos=infos, filename_template=FILES
    )


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    root = tmp_path_factory.mktemp("tfds")
    write_dataset(root, "tiny_reviews", ROWS)
    write_dataset(root, "only_test", {"test": [("poor", -1, 1.5)]})
    write_dataset(root, "two_parts", {"one": ROWS["test"], "two": ROWS["test"]})
    return root


@pytest.mark.parametrize(
    ("text", "name", "split"),
    [
        ("tfds:imdb_reviews", "imdb_reviews", None),
        ("tfds:imdb_reviews:train", "imdb_reviews", "train"),
        ("tfds:imdb_reviews:train[:80%]", "imdb_reviews", "train[:80%]"),
        ("tfds:glue/sst2:validation", "glue/sst2", "validation"),
        ("tfds:imdb_reviews/plain_text:1.0.0", "imdb_reviews/plain_text:1.0.0", None),
        ("tfds:imdb_reviews:1.0.0:test", "imdb_reviews:1.0.0", "test"),
    ],
)
def test_a_name_has_a_data_set_and_perhaps_a_split(text, name, split):
    assert parse_tfds(text) == TfdsSource(name, split)
    assert str(parse_tfds(text)) == text


@pytest.mark.parametrize("text", ["tfds:", "tfds::train", "tfds:a b", "tfds:../secret"])
def test_another_form_is_an_error(text):
    with pytest.raises(InputError, match="must look like tfds:NAME"):
        parse_tfds(text)


def test_class_labels_come_as_names_and_numbers_as_written(data_dir):
    table = read_table("tfds:tiny_reviews", data_dir=data_dir)
    assert table.texts == ["fine", "糟糕", "so so"]
    assert table.labels == ["positive", "negative", "positive"]
    assert table.places[2] == "tfds:tiny_reviews:train:2"
    assert read_table("tfds:tiny_reviews", label="stars", data_dir=data_dir).labels == ["4.5", "1.0", "3.0"]


def test_a_split_is_read_by_name_part_and_version(data_dir):
    assert list(read_texts("tfds:tiny_reviews:test", data_dir=data_dir)) == ["poor"]
    assert list(read_texts("tfds:tiny_reviews:1.0.0:train[1:]", data_dir=data_dir)) == ["糟糕", "so so"]


def test_the_environment_names_the_directory_too(data_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    assert list(read_texts("tfds:tiny_reviews")) == ["fine", "糟糕", "so so"]


def test_the_only_split_is_the_default_and_several_must_be_named(data_dir):
    assert list(read_texts("tfds:only_test", data_dir=data_dir)) == ["poor"]
    with pytest.raises(InputError, match=r"name a split, as in tfds:two_parts:one. It has: one, two"):
        list(read_texts("tfds:two_parts", data_dir=data_dir))


def test_an_unlabelled_example_is_a_bad_row(data_dir):
    with pytest.raises(InputError, match="tfds:only_test:test:0: label: empty"):
        read_table("tfds:only_test", data_dir=data_dir)


def test_lists_are_no_columns(data_dir):
    with pytest.raises(InputError, match=r"no column 'words'. Columns: 'label', 'stars', 'text'"):
        read_table("tfds:tiny_reviews", text="words", data_dir=data_dir)


@pytest.mark.parametrize("split", ["tset", "test[:"])
def test_an_unknown_split_is_an_error_that_lists_the_splits(data_dir, split):
    with pytest.raises(InputError, match=r"no split .* \(did you mean 'test'\?\). It has: train, test"):
        list(read_texts(f"tfds:tiny_reviews:{split}", data_dir=data_dir))


@pytest.mark.parametrize("name", ["imdb_reviews", "no_such_name", "tiny_reviews:2.0.0"])
def test_a_data_set_that_is_not_prepared_says_how_to_prepare_it_and_downloads_nothing(data_dir, tmp_path, name):
    with pytest.raises(InputError, match=f"no prepared data set.*`tfds build {name} --data_dir DIR`"):
        list(read_texts(f"tfds:{name}", data_dir=tmp_path / "none"))
    assert not (tmp_path / "none").exists()
