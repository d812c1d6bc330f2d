"""`tfds:NAME[:SPLIT]` -> rows of a TensorFlow Datasets data set prepared on disk. Nothing is ever downloaded."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tfllm.checks import InputError, did_you_mean
from tfllm.data.rows import Row

_SPEC = re.compile(r"tfds:(?P<name>\w+(/[\w.+-]+)?(:\d+\.\d+\.\d+)?)(:(?P<split>.+))?")


class TfdsSource(NamedTuple):
    """A data set by its TFDS name (`imdb_reviews`, `glue/sst2`, `imdb_reviews:1.0.0`) and split (`train[:80%]`)."""

    name: str
    split: str | None

    def __str__(self) -> str:
        return f"tfds:{self.name}" + (f":{self.split}" if self.split else "")


def parse_tfds(text: str) -> TfdsSource:
    """The parts of `tfds:NAME[/CONFIG][:VERSION][:SPLIT]`; InputError when it has another form."""
    match = _SPEC.fullmatch(text)
    if not match:
        raise InputError(
            f"{text!r} must look like tfds:NAME[/CONFIG][:VERSION][:SPLIT], as in tfds:imdb_reviews:train."
        )
    return TfdsSource(match["name"], match["split"])


def read_tfds_rows(source: TfdsSource, data_dir: str | Path | None = None) -> Iterator[Row]:
    """The rows of a prepared data set, in the order they are stored, with class labels as their names.

    Args:
        source: name and split. Without a split: `train`, or the only one.
        data_dir: where data sets are prepared; else $TFDS_DATA_DIR, else TFDS's own default.

    Raises:
        InputError: the data set is not prepared there, or has no such split.
    """
    import tensorflow_datasets as tfds  # takes seconds to import

    builder = _prepared_builder(tfds, source, data_dir)
    split = source.split or _default_split(source, list(builder.info.splits))
    try:
        examples = builder.as_dataset(split=split)
    except ValueError:
        splits = list(builder.info.splits)
        raise InputError(
            f"{source}: no split {split!r}{did_you_mean(split, splits)}. It has: {', '.join(splits)}."
        ) from None
    decoders = _decoders(tfds, builder.info.features)
    for number, example in enumerate(tfds.as_numpy(examples)):
        yield Row(
            f"tfds:{source.name}:{split}:{number}",
            {column: decode(example[column]) for column, decode in decoders.items()},
        )


def _prepared_builder(tfds, source: TfdsSource, data_dir: str | Path | None):
    data_dir = data_dir or os.environ.get("TFDS_DATA_DIR")
    try:
        builder = tfds.builder(source.name, data_dir=data_dir, try_gcs=False)
    except tfds.core.DatasetNotFoundError:
        builder = None
    if builder is None or not builder.info.splits:
        raise InputError(
            f"{source}: no prepared data set of this name in {data_dir or 'the default TFDS directory'}. Prepare it "
            f"once with `tfds build {source.name} --data_dir DIR`, and name DIR (data_dir=, or TFDS_DATA_DIR)."
        )
    return builder


def _default_split(source: TfdsSource, splits: list[str]) -> str:
    if "train" in splits or len(splits) == 1:
        return "train" if "train" in splits else splits[0]
    raise InputError(f"{source}: name a split, as in {source}:{splits[0]}. It has: {', '.join(splits)}.")


def _decoders(tfds, features) -> dict[str, Callable]:
    """Per column that holds one value (a text, a label, a number): what turns the stored value into a cell."""
    decoders = {}
    for column, feature in sorted(features.items()):
        if isinstance(feature, tfds.features.ClassLabel):
            decoders[column] = lambda value, names=feature.names: names[value] if value >= 0 else ""  # -1 = unlabelled
        elif isinstance(feature, tfds.features.Text):
            decoders[column] = lambda value: value.decode("utf-8", "surrogateescape")
        elif feature.shape == ():
            decoders[column] = lambda value: value.item()
    return decoders
