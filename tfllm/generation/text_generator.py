"""`TextGenerator`: a model that writes, from Python."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from tfllm import checks, manifest
from tfllm.checks import InputError
from tfllm.generation.batches import (
    DTYPES,
    as_columns,
    as_pairs,
    as_scored,
    as_strings,
    in_batches,
    scores_of,
    without_prompts,
)
from tfllm.generation.chat import ChatWriter
from tfllm.generation.choose import Sampling, draw_uniform
from tfllm.generation.conversations import as_conversations
from tfllm.generation.fill import FillWriter
from tfllm.generation.loop import goes_on
from tfllm.generation.seq2seq_text import make_writer
from tfllm.generation.text import TextWriter
from tfllm.generation.written import room_of
from tfllm.models import check_length, load_model, longest_text, read_recipe
from tfllm.tokenizers import Tokenizer, load_tokenizer
from tfllm.writing import RowSettings, Rules, read_settings

_REPLACEMENT = "\ufffd"  # at the end of a text: a character that is not whole yet
SAMPLING = Sampling(*(tf.TensorSpec([None], dtype) for dtype in DTYPES))


class TextGenerator:
    """Writes on where prompts end, and tells how probable texts are.

    Args:
        model: from `add_causal_lm_head`, which writes on where a prompt ends; or from `add_seq2seq_head`, which writes
            what belongs to it, a translation say.
        tokenizer: the one it was trained with.
        sequence_length: how many tokens prompt and text have together at most. Default: as many as the model has
            positions; give the length it was trained at if that is less.

    Attributes:
        reads_first: the prompt is read, and the text does not go on from it: a translation, a summary.

    A text depends on its prompt, the settings and its seed, not on the prompts beside it.
    """

    def __init__(self, model: keras.Model, tokenizer: Tokenizer, sequence_length: int | None = None):
        self._model, self._tokenizer = model, tokenizer
        self._length = longest_text(model) if sequence_length is None else sequence_length
        checks.check_at_least("sequence_length", self._length, 3)
        check_length(model, self._length)
        self._traced: dict[tuple[Rules, Callable], dict[str, Callable]] = {}
        self._functions(Rules())  # is it a model that writes?
        self._defaults = read_recipe(model)["arguments"]["generation"]
        self.reads_first = read_recipe(model)["builder"] == "add_seq2seq_head"

    @classmethod
    def load(cls, directory: str | Path) -> "TextGenerator":
        """The model of a model directory, at the length it was trained at."""
        model = load_model(directory)
        run = manifest.read_manifest(directory, "model")["arguments"]["run"]
        return cls(model, load_tokenizer(directory), run.get("sequence_length"))

    def generate(self, prompts: Sequence[str], **settings) -> list[dict]:
        """Write on after each prompt.

        Args:
            prompts: B texts.
            **settings: see `tfllm.writing`: those of `RowSettings`, one value for all prompts or a list with one for
                each, and those of `Rules`. What is not given is as the model says, see `add_causal_lm_head`.

        Returns:
            For each prompt a dict: `prompt`, `text` (what comes after it), `num_tokens`, `finish_reason` ("stop" where
            the model or a stop string ended the text, "length" where it had no more room), `log_prob`.

        Raises:
            InputError: for settings that mean nothing.
        """
        rows, rules = read_settings(settings, self._defaults)
        write = self._functions(rules)["write"]
        return in_batches(lambda text, **columns: write(text, Sampling(**columns)), prompts, rows)

    def stream(self, prompt: str, **settings) -> Iterator[str]:
        """Write on after a prompt: pieces of the text of `generate`, each as soon as it stands fast.

        Args:
            prompt: one text.
            **settings: as for `generate`, without `num_beams`.
        """
        return self._stream(as_strings([prompt], "prompt"), settings)

    def fill(self, prefixes: Sequence[str], suffixes: Sequence[str], **settings) -> list[dict]:
        """Write what stands between two texts, with a model that learned it (`--fill-in-middle`).

        Args:
            prefixes, suffixes: what comes before each gap and after it, as many of each.
            **settings: as for `generate`.

        Returns:
            As `generate`; `prompt` is the prefix.

        Raises:
            InputError: for a model that did not learn it.
        """
        texts = as_pairs(prefixes, suffixes, "prefixes and suffixes")
        rows, rules = read_settings(settings, self._defaults)
        write = self._functions(rules, FillWriter)["write"]
        return in_batches(lambda text, **columns: write(text, Sampling(**columns)), prefixes, rows, texts)

    def chat(self, messages: Sequence[Mapping[str, str]], **settings) -> dict:
        """Answer a conversation; see `answers`.

        Returns:
            A dict: `text`, the answer, and `num_tokens`, `finish_reason`, `log_prob` as `generate` gives them.
        """
        return self.answers([messages], **settings)[0]

    def answers(self, conversations: Sequence[Sequence[Mapping[str, str]]], **settings) -> list[dict]:
        """Answer conversations, with a model whose tokenizer has a chat template.

        Args:
            conversations: of each the messages, {"role": "system", "user" or "assistant", "content": a text}: one of
                the system or none, then user and assistant in turn, the user last. Of one that is too long the oldest
                turns are left out.
            **settings: as for `generate`.

        Returns:
            For each a dict, as `chat` does.

        Raises:
            InputError: for messages that do not take turns, or a model that does not chat.
        """
        texts = self._conversations(conversations)
        rows, rules = read_settings(settings, self._defaults)
        write = self._functions(rules, ChatWriter)["write"]
        function = lambda text, **columns: write(text, Sampling(**columns))  # noqa: E731
        return without_prompts(in_batches(function, [""] * len(conversations), rows, texts))

    def stream_chat(self, messages: Sequence[Mapping[str, str]], **settings) -> Iterator[str]:
        """Answer a conversation: pieces of the text of `chat`, each as soon as it stands fast."""
        return self._stream(self._conversations([messages]), settings, ChatWriter)

    def _conversations(self, conversations: Sequence[Sequence[Mapping[str, str]]]) -> tf.Tensor:
        template = self._tokenizer.chat_template
        return as_conversations(conversations, takes_system=template is None or template.system is not None)

    def _stream(self, texts: tf.Tensor, settings: dict, make: Callable = make_writer) -> Iterator[str]:
        rows, rules = read_settings(settings, self._defaults)
        if rules.num_beams > 1:
            raise InputError("With beams no piece of a text stands fast before its end. Leave `num_beams` out.")
        return self._pieces(texts, rows, rules, self._functions(rules, make))

    @staticmethod
    def _pieces(texts: tf.Tensor, rows: RowSettings, rules: Rules, functions: dict[str, Callable]) -> Iterator[str]:
        inputs, state = functions["begin"](texts, Sampling(*as_columns(rows, 1).values()))
        shown = ""
        while True:
            more = bool(goes_on(state))
            text = functions["text"](inputs, state).numpy()[0].decode()
            fast = _without_end(text, rules.stop) if more else text
            if len(fast) > len(shown):
                yield fast[len(shown) :]
                shown = fast
            if not more:
                return
            state = functions["advance"](inputs, state)

    def score(self, texts: Sequence[str], targets: Sequence[str] | None = None) -> list[dict]:
        """How probable the model holds each text; or, of a model that reads before it writes, each target after it.

        Returns:
            For each text a dict: `text`, `log_prob`, `num_tokens`, and `token_log_probs`, those of its tokens. A text
            longer than the model is cut.

        Raises:
            InputError: for targets where the model takes none, for none where it does, or for another number of them.
        """
        columns = as_scored(texts, targets, reads_first=self.reads_first)
        return scores_of(texts if targets is None else targets, self._functions(Rules())["score"](*columns))

    def _functions(self, rules: Rules, make: Callable = make_writer) -> dict[str, Callable]:
        if (rules, make) not in self._traced:
            self._traced[rules, make] = _functions(make(self._model, self._tokenizer, self._length, rules))
        return self._traced[rules, make]


def _functions(writer: TextWriter) -> dict[str, Callable]:
    """The methods of a writer, traced when they are first used."""

    def begin(text, sampling):
        prompts, lengths, limits = writer.encode(text, sampling.max_new_tokens)
        inputs = prompts, lengths, limits, sampling, draw_uniform(sampling.seed, room_of(limits))
        return inputs, writer.writer.begin(*inputs)

    def advance(inputs, state):
        return writer.writer.advance(state, *inputs)

    def text_of(inputs, state):
        return writer.text_of(*inputs[:2], state.written)

    return {
        "write": tf.function(writer.write, autograph=False, input_signature=[writer.texts, SAMPLING]),
        "score": tf.function(writer.score, autograph=False, reduce_retracing=True),
        "begin": tf.function(begin, autograph=False, input_signature=[writer.texts, SAMPLING]),
        "advance": tf.function(advance, autograph=False, reduce_retracing=True),
        "text": tf.function(text_of, autograph=False, reduce_retracing=True),
    }


def _without_end(text: str, stops: Sequence[str]) -> str:
    """The part of an unfinished text that will not change: no half a character, no beginning of a stop string."""
    text = text.rstrip(_REPLACEMENT)
    most = max((len(stop) for stop in stops), default=1) - 1
    for length in range(min(most, len(text)), 0, -1):
        if any(stop.startswith(text[-length:]) for stop in stops):
            return text[:-length]
    return text
