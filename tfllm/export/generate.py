"""Texts written by a tfllm model directory or by a SavedModel; the latter without importing Keras."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import tensorflow as tf

from tfllm import manifest
from tfllm.checks import InputError, check_exists
from tfllm.export.check import KIND
from tfllm.export.predict import is_model, open_savedmodel
from tfllm.export.versions import find_version
from tfllm.generation.batches import as_pairs, as_scored, in_batches, scores_of, without_prompts
from tfllm.writing import RowSettings, read_settings

if TYPE_CHECKING:
    from tfllm.generation import TextGenerator


def load_generator(directory: str | Path, *, trust: bool = False) -> "TextGenerator | SavedGenerator":
    """What writes text: a model directory, or `savedmodels/NAME`, or `savedmodels/NAME/VERSION`.

    Args:
        directory: where it is.
        trust: True also runs a SavedModel that tfllm did not write or whose files have changed. A SavedModel is code.
    """
    check_exists(directory)
    if is_model(directory):
        from tfllm.generation import TextGenerator

        return TextGenerator.load(directory)
    return SavedGenerator(directory, trust=trust)


class SavedGenerator:
    """A SavedModel that writes, with the methods of `TextGenerator` that it can do."""

    def __init__(self, directory: str | Path, *, trust: bool = False):
        savedmodel = find_version(directory)
        self._loaded, _ = open_savedmodel(savedmodel, trust=trust)
        if not {"generate", "score"} <= set(self._loaded.signatures):
            raise InputError(f"{savedmodel} does not write text: it has no signature `generate`.")
        self._defaults = _stored_settings(savedmodel)
        self.reads_first = "target" in self._loaded.signatures["score"].structured_input_signature[1]

    def generate(self, prompts: Sequence[str], **settings) -> list[dict]:
        """As `TextGenerator.generate`, with the settings that a text may have of its own; the others are stored."""
        return in_batches(self._loaded.signatures["generate"], prompts, self._rows(settings))

    def fill(self, prefixes: Sequence[str], suffixes: Sequence[str], **settings) -> list[dict]:
        """As `TextGenerator.fill`, with the settings that `generate` takes."""
        if "fill" not in self._loaded.signatures:
            raise InputError("This SavedModel did not learn to fill gaps: it has no signature `fill`.")
        texts, write = as_pairs(prefixes, suffixes, "prefixes and suffixes"), self._loaded.signatures["fill"]

        def function(text, **columns):
            return write(text=text[:, 0], suffix=text[:, 1], **columns)

        return in_batches(function, prefixes, self._rows(settings), texts)

    def chat(self, messages: Sequence[Mapping[str, str]], **settings) -> dict:
        """As `TextGenerator.chat`, with the settings that `generate` takes."""
        return self.answers([messages], **settings)[0]

    def answers(self, conversations: Sequence[Sequence[Mapping[str, str]]], **settings) -> list[dict]:
        """As `TextGenerator.answers`, with the settings that `generate` takes."""
        from tfllm.generation.conversations import as_conversations

        if "chat" not in self._loaded.signatures:
            raise InputError("This SavedModel does not chat: it has no signature `chat`.")
        texts, write = as_conversations(conversations), self._loaded.signatures["chat"]

        def function(text, **columns):
            return write(roles=text[:, 0], contents=text[:, 1], **columns)

        try:
            return without_prompts(in_batches(function, [""] * len(conversations), self._rows(settings), texts))
        except tf.errors.InvalidArgumentError:  # as the graph says of a system message it has no place for
            as_conversations(conversations, takes_system=False)
            raise

    def _rows(self, settings: dict) -> RowSettings:
        """The settings that texts have of their own; InputError for others that are not as they were stored."""
        rows, rules = read_settings(settings, self._defaults)
        if rules != read_settings({}, self._defaults)[1]:
            given = ", ".join(name for name in settings if name not in RowSettings._fields)
            raise InputError(
                f"These settings stand in a SavedModel's graph and cannot change: {given}. Use the model directory, or "
                "export it with them (`set_generation`)."
            )
        return rows

    def stream(self, prompt: str, **settings) -> Iterator[str]:
        """Not possible."""
        raise InputError("A SavedModel gives whole texts. Stream from the model directory it was exported from.")

    stream_chat = stream

    def score(self, texts: Sequence[str], targets: Sequence[str] | None = None) -> list[dict]:
        """As `TextGenerator.score`."""
        columns = as_scored(texts, targets, reads_first=self.reads_first)
        inputs = dict(zip(("text", "target"), columns, strict=False))
        return scores_of(texts if targets is None else targets, self._loaded.signatures["score"](**inputs))


def _stored_settings(savedmodel: Path) -> dict:
    try:
        return manifest.read_manifest(savedmodel, KIND)["arguments"]["model"]["arguments"]["generation"]
    except (InputError, KeyError):
        return {}  # trusted, and not ours
