"""What every tokenizer shares: text made safe, special tokens, pairs, offsets, `save`.

In: strings. Out: ragged int32 token ids, and where in the text each token stands.
B texts, T tokens of a text.
"""

import abc
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfllm.checks import InputError, check_between, check_one_of
from tfllm.manifest import write_directory
from tfllm.tokenizers.chat import ChatTemplate
from tfllm.tokenizers.offsets import character_boundaries, pick

SPECIAL_NAMES = ("pad", "unk", "cls", "sep", "mask")
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
BERT_SPECIAL_TOKENS = MappingProxyType(dict(zip(SPECIAL_NAMES, SPECIAL_TOKENS, strict=True)))
# AutoGraph would translate all that a tokenizer calls in a user's `dataset.map`, which takes longer than tracing it.
_in_graph = tf.autograph.experimental.do_not_convert
NO_TEXT = "The corpus has no text to train on: every text is empty, white space or invisible characters."


class Tokens(NamedTuple):
    """Tokens of B texts and where they stand in the texts as they were given. All ragged int32 (B, (T)).

    `text[byte_start:byte_end]` of the UTF-8 bytes is `text[character_start:character_end]` of the string.
    Spans never split a character. In text that is not valid UTF-8 each malformed sequence is one character,
    as in `bytes.decode("utf-8", errors="replace")`.
    """

    ids: tf.RaggedTensor
    byte_starts: tf.RaggedTensor
    byte_ends: tf.RaggedTensor
    character_starts: tf.RaggedTensor
    character_ends: tf.RaggedTensor


class Tokenizer(tf.Module, abc.ABC):
    """Text <-> ids by TensorFlow ops only: the same in Python, in `tf.data.Dataset.map` and in a SavedModel.

    It is a `tf.Module`: a SavedModel that tokenizes must hold the tokenizer as an attribute, so that its
    resources are saved with it.

    Attributes:
        kind: "wordpiece", "sentencepiece", "sentencepiece-pair" or "byte-bpe".
        vocabulary: the tokens; the position is the id.
        special_tokens: name -> token of the special tokens it has: pad, and any of unk, cls, sep, mask. Text never
            becomes one of them except unk: a typed "[SEP]" is ordinary text. [PAD] stands for its pad token below,
            whatever its vocabulary calls it, and so do the others.
        pad_id, unk_id, cls_id, sep_id, mask_id: their ids; an `InputError` where it has none.
        pair_separators: 1 = `[CLS] a [SEP] b [SEP]` with segments 0 and 1, as BERT has it; 2 = `[CLS] a [SEP] [SEP] b
            [SEP]` in one segment, as RoBERTa has it.
        begins_prompts: a prompt that a model writes on begins with the cls token; False for GPT-2 and others whose
            published tokenizers put nothing before a prompt.
        chat_template: how a conversation becomes one text; None: the model it belongs to holds none.
    """

    kind: str
    chat_template: ChatTemplate | None = None

    def __init__(
        self,
        vocabulary: list[str],
        word_starts: list[bool],
        special_tokens: Mapping[str, str] | None = None,
        pair_separators: int = 1,
    ):
        """Args: `word_starts` says of each vocabulary entry whether it begins a word. None = BERT's special tokens."""
        super().__init__()
        special_tokens = BERT_SPECIAL_TOKENS if special_tokens is None else special_tokens
        _check_special_tokens(special_tokens, vocabulary)
        check_between("pair_separators", pair_separators, 1, 2)
        self._vocabulary = np.array(vocabulary, object)  # a list would be tracked entry by entry by tf.Module
        self._special_ids = MappingProxyType(  # so would a dict
            {name: vocabulary.index(special_tokens[name]) for name in SPECIAL_NAMES if name in special_tokens}
        )
        self.pair_separators = pair_separators
        self.begins_prompts = True
        self._more_ends = np.array([], object)
        self._word_starts = tf.constant(word_starts, tf.int32)

    @property
    def vocabulary(self) -> list[str]:
        """The tokens; the position is the id."""
        return self._vocabulary.tolist()

    @property
    def vocabulary_size(self) -> int:
        """Number of tokens, special ones included."""
        return len(self._vocabulary)

    @property
    def special_tokens(self) -> dict[str, str]:
        """Name -> token, in the order pad, unk, cls, sep, mask; those it has."""
        return {name: self._vocabulary[token_id] for name, token_id in self._special_ids.items()}

    @property
    def special_ids(self) -> list[int]:
        """Distinct ids of the special tokens, in the order pad, unk, cls, sep, mask."""
        return list(dict.fromkeys(self._special_ids.values()))

    @property
    def pad_id(self) -> int:
        """Id of the token that fills up rows."""
        return self._special_id("pad")

    @property
    def unk_id(self) -> int:
        """Id of what stands for text that has no token."""
        return self._special_id("unk")

    @property
    def cls_id(self) -> int:
        """Id of the token rows begin with."""
        return self._special_id("cls")

    @property
    def sep_id(self) -> int:
        """Id of the token that ends a text."""
        return self._special_id("sep")

    @property
    def mask_id(self) -> int:
        """Id of the token that hides another."""
        return self._special_id("mask")

    @property
    def end_ids(self) -> list[int]:
        """Ids of the tokens with which a model ends a text: sep, and those of `set_prompts`."""
        return list(dict.fromkeys([self.sep_id, *map(self.vocabulary.index, self._more_ends)]))

    def set_prompts(self, *, begin: bool, ends: Iterable[str] = ()) -> None:
        """Say how prompts begin and texts end where a model writes; it is saved with the tokenizer.

        Args:
            begin: what `begins_prompts` is.
            ends: tokens besides sep with which a text may end.

        Raises:
            InputError: for a token that is not in the vocabulary.
        """
        ends = list(ends)
        unknown = set(ends) - set(self._vocabulary)
        if unknown:
            raise InputError(f"A token that ends texts must be in the vocabulary. Received: {min(unknown)!r}.")
        self.begins_prompts, self._more_ends = begin, np.array(ends, object)

    def ids_of(self, names: str | Iterable[str]) -> list[int]:
        """Ids of special tokens by their names: "cls", or ["sep", "cls"]."""
        return [self._special_id(name) for name in ([names] if isinstance(names, str) else names)]

    def _special_id(self, name: str) -> int:
        if name not in self._special_ids:
            raise InputError(f"This needs a tokenizer with a {name} token. Received: one with {self.special_tokens}.")
        return self._special_ids[name]

    @_in_graph
    def tokenize(self, text) -> tf.RaggedTensor:
        """Token ids of each text, without special tokens.

        Args:
            text: a string, a list of strings, or a string tensor (B,). One string is a batch of one.
                Malformed UTF-8 is read as U+FFFD, the replacement character.

        Returns:
            RaggedTensor int32 (B, (T)).
        """
        return self._tokenize(_as_batch(text))

    @_in_graph
    def tokenize_target(self, text) -> tf.RaggedTensor:
        """As `tokenize`, of texts that a model writes after it has read others; most tokenizers make no difference."""
        return self._tokenize_target(_as_batch(text))

    @_in_graph
    def tokenize_with_offsets(self, text) -> Tokens:
        """Token ids of each text, and the bytes and characters of the text each token covers.

        Args:
            text: as in `tokenize`.

        Returns:
            `Tokens`. Starts and ends never decrease from one token to the next. A character that becomes several
            tokens is covered by each of them (WordPiece) or by the last of them (SentencePiece byte pieces).
        """
        text = _as_batch(text)
        ids, starts, ends = self._tokenize_with_offsets(text)
        boundaries = character_boundaries(text)
        spans = pick(boundaries, starts), pick(boundaries, ends), starts, ends
        return Tokens(ids, *(tf.cast(span, tf.int32) for span in spans))

    def wrap(self, token_ids: tf.RaggedTensor, sequence_length: int) -> tf.RaggedTensor:
        """`[CLS] ids [SEP]` of each row, the ids cut so that it is no longer than `sequence_length`.

        Args:
            token_ids: int32 (B, (T)), what `tokenize` returned.
            sequence_length: at least 3.
        """
        column = tf.fill([token_ids.nrows(), 1], 0)
        return tf.concat([column + self.cls_id, token_ids[:, : sequence_length - 2], column + self.sep_id], axis=1)

    def wrap_source(self, token_ids: tf.RaggedTensor, sequence_length: int) -> tf.RaggedTensor:
        """As `wrap`, for a model that reads before it writes; a tokenizer without a cls token, as T5's, puts nothing
        before such a text: `ids [SEP]`.
        """
        if "cls" in self._special_ids:
            return self.wrap(token_ids, sequence_length)
        end = tf.fill([token_ids.nrows(), 1], self.sep_id)
        return tf.concat([token_ids[:, : sequence_length - 1], end], axis=1)

    @_in_graph
    def wrap_pair(
        self, first_ids: tf.RaggedTensor, second_ids: tf.RaggedTensor, sequence_length: int
    ) -> tuple[tf.RaggedTensor, tf.RaggedTensor]:
        """`[CLS] first [SEP] second [SEP]` of each row, the longer text cut first until the row fits.

        With `pair_separators` 2 it is `[CLS] first [SEP] [SEP] second [SEP]`, all of it in segment 0.

        Args:
            first_ids, second_ids: int32 (B, (T)), what `tokenize` returned for each text of the pairs.
            sequence_length: at least 4 + `pair_separators`, so that a token of each text has room.

        Returns:
            token_ids and segment_ids, both RaggedTensor int32 (B, (T)); segment 0 goes up to the first [SEP].

        Example: room for 5 tokens, texts of 9 and 2 -> 3 and 2 stay; texts of 9 and 9 -> 3 and 2.
        """
        room = sequence_length - 2 - self.pair_separators
        first, second = (tf.cast(ids.row_lengths(), tf.int32) for ids in (first_ids, second_ids))
        first_kept = tf.minimum(first, tf.maximum(room - second, -(-room // 2)))
        first_ids, second_ids = _row_starts(first_ids, first_kept), _row_starts(second_ids, room - first_kept)
        column = tf.fill([first_ids.nrows(), 1], 0)
        separator = column + self.sep_id
        parts = [column + self.cls_id, first_ids, *[separator] * self.pair_separators], [second_ids, separator]
        first_ids, second_ids = (tf.concat(part, axis=1) for part in parts)
        segments = [first_ids.with_flat_values(tf.zeros_like(first_ids.flat_values))]
        second_segment = 1 if self.pair_separators == 1 else 0
        segments += [second_ids.with_flat_values(tf.fill(tf.shape(second_ids.flat_values), second_segment))]
        return tf.concat([first_ids, second_ids], axis=1), tf.concat(segments, axis=1)

    @_in_graph
    def detokenize(self, token_ids) -> tf.Tensor:
        """Text of each row of ids; special tokens and ids outside the vocabulary are left out.

        Args:
            token_ids: int32 or int64, RaggedTensor (B, (T)) or Tensor (B, T); (T,) is a batch of one.

        Returns:
            string (B,), always valid UTF-8.
        """
        if not isinstance(token_ids, tf.RaggedTensor):
            token_ids = tf.convert_to_tensor(token_ids)
            token_ids = tf.RaggedTensor.from_tensor(token_ids if token_ids.shape.rank > 1 else token_ids[tf.newaxis])
        ids = token_ids.flat_values
        keep = (ids >= 0) & (ids < self.vocabulary_size)  # the detokenizing ops fail, or crash, on other ids
        for special_id in self.special_ids:
            keep &= ids != special_id
        kept = tf.ragged.boolean_mask(token_ids, token_ids.with_flat_values(keep))
        return valid_utf8(self._detokenize(tf.cast(kept, tf.int32)))

    def word_starts(self, token_ids):
        """1 where a token begins a word, else 0; for whole-word masking.

        Args:
            token_ids: int32, Tensor or RaggedTensor of any shape.

        Returns:
            int32, the same shape. Special tokens count as words.
        """
        return tf.ragged.map_flat_values(lambda ids: tf.gather(self._word_starts, ids), token_ids)

    def save(self, directory: str | Path, inputs: Iterable[str | Path] = ()) -> None:
        """Write a finished tokenizer directory.

        Args:
            directory: where it shall stand.
            inputs: files it was trained on; the manifest records their hashes.

        Raises:
            InputError: if `directory` is taken.
        """
        arguments = {
            "kind": self.kind,
            "vocabulary_size": self.vocabulary_size,
            "special_tokens": self.special_tokens,
            "pair_separators": self.pair_separators,
            "prompts": {"begin": self.begins_prompts, "ends": self._more_ends.tolist()},
            **self._arguments(),
        }
        with write_directory(directory, "tokenizer", arguments, inputs=inputs) as unfinished:
            self.write_files(unfinished)
            if self.chat_template is not None:
                self.chat_template.save(unfinished)

    @abc.abstractmethod
    def write_files(self, directory: Path) -> None:
        """Write the vocabulary files into a directory that is there."""

    @abc.abstractmethod
    def _tokenize(self, text: tf.Tensor) -> tf.RaggedTensor:
        """int32 (B, (T)) of string (B,), any bytes."""

    def _tokenize_target(self, text: tf.Tensor) -> tf.RaggedTensor:
        """As `_tokenize`."""
        return self._tokenize(text)

    @abc.abstractmethod
    def _tokenize_with_offsets(self, text: tf.Tensor) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """Ids int32, first character and character after each token int64, all (B, (T)), of string (B,), any bytes."""

    @abc.abstractmethod
    def _detokenize(self, token_ids: tf.RaggedTensor) -> tf.Tensor:
        """Strings (B,) of ids that are in the vocabulary and not special."""

    @abc.abstractmethod
    def _arguments(self) -> dict:
        """What `load_tokenizer` must give back besides the files; JSON values."""


def valid_utf8(text: tf.Tensor) -> tf.Tensor:
    """The texts with each malformed UTF-8 sequence replaced by U+FFFD."""
    return tf.strings.unicode_transcode(text, "UTF-8", "UTF-8", errors="replace")


def check_vocabulary(vocabulary: list[str]) -> None:
    """Raise InputError for an empty or repeated token."""
    seen = set()
    for position, token in enumerate(vocabulary):
        if not token or token in seen:
            reason = "repeats an earlier token" if token else "is empty"
            raise InputError(f"Vocabulary entry {position} {reason}; tokens must be distinct. Received: {token!r}.")
        seen.add(token)


def _row_starts(ids: tf.RaggedTensor, lengths: tf.Tensor) -> tf.RaggedTensor:
    """The first `lengths[b]` ids of row b, or all if it has fewer: int32 (B, (T)).

    A ragged tensor takes the same slice of every row only.
    """
    lengths = tf.minimum(tf.cast(lengths, ids.row_splits.dtype), ids.row_lengths())
    places = tf.ragged.range(ids.row_starts(), ids.row_starts() + lengths)
    return places.with_flat_values(tf.gather(ids.flat_values, places.flat_values))


def _check_special_tokens(special_tokens: Mapping[str, str], vocabulary: list[str]) -> None:
    for name in special_tokens:
        check_one_of("special_tokens", name, SPECIAL_NAMES)
    if "pad" not in special_tokens:
        raise InputError(
            f"`special_tokens` must name a pad token: rows are filled up with it. Received: {special_tokens}."
        )
    known = set(vocabulary)
    missing = [token for token in special_tokens.values() if token not in known]
    if missing:
        raise InputError(
            f"The vocabulary lacks {' '.join(missing)}; a tokenizer needs {list(special_tokens.values())}."
        )


def _as_batch(text) -> tf.Tensor:
    if isinstance(text, str | bytes):
        text = [text]
    if isinstance(text, list | tuple):
        # A Python string can hold half a surrogate pair, which UTF-8 cannot: it becomes "?".
        text = [one.encode("utf-8", "replace") if isinstance(one, str) else one for one in text]
    text = tf.convert_to_tensor(text, tf.string)
    if text.shape.rank == 1:
        return text
    if text.shape.rank is not None and text.shape.rank > 1:
        raise InputError(f"`text` must be one string or a batch of rank 1. Received: shape={text.shape}.")
    return tf.reshape(text, [-1])
