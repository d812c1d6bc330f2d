"""The settings of a model that writes text: their names, what they are if nobody says, what they may be."""

import math
import numbers
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from tfllm import checks
from tfllm.checks import InputError


class Rules(NamedTuple):
    """What holds for all texts of a batch, and is stored with an exported model.

    Attributes:
        min_new_tokens: no text ends before it has so many.
        min_p: only tokens at least so probable, as a share of the most probable one, are drawn. 0: all.
        repetition_penalty: logits of tokens that stand in the prompt or the text so far are divided by it where they
            are above 0, and multiplied where they are below. 1: none.
        no_repeat_ngram: no sequence of so many tokens occurs twice in prompt and text. 0: any may.
        stop: strings that end a text; the text is cut before the first of them.
        num_beams: how many texts are followed at a time, of which the best is kept; nothing is drawn then. 1: one,
            token by token.
        length_penalty: with beams, a text's log-probability is divided by its number of tokens to this power, -8 to 8.
            0 favours short texts.

    Source: Nguyen et al. 2024, arXiv:2407.01082, for `min_p`; Keskar et al. 2019, arXiv:1909.05858, section 4.1, for
    `repetition_penalty`; Paulus et al. 2017, arXiv:1705.04304, section 2.5, for `no_repeat_ngram`; Wu et al. 2016,
    arXiv:1609.08144, section 7, for `length_penalty`. Differs: the length itself, not (5 + length) / 6.
    """

    min_new_tokens: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0
    stop: tuple[str, ...] = ()
    num_beams: int = 1
    length_penalty: float = 1.0


class RowSettings(NamedTuple):
    """What every text of a batch may have of its own.

    Attributes:
        max_new_tokens: how many tokens at most.
        temperature: what logits are divided by before a token is drawn; 0 takes the most probable one.
        top_k: only so many tokens, the most probable ones, are drawn from; 0: all.
        top_p: only the most probable tokens that together reach this probability; 1: all.
        seed: decides what is drawn.

    Source: Fan et al. 2018, arXiv:1805.04833, section 5.4, for `top_k`; Holtzman et al. 2019, arXiv:1904.09751,
    section 3.1, for `top_p`.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0


SETTINGS = {**RowSettings()._asdict(), **Rules()._asdict()}
_MOST, _LONGEST_NGRAM = 2**31 - 1, 100
_STEEPEST = 8  # of the penalty of lengths: 2**15 tokens to this power are still a float32


def read_settings(settings: Mapping, defaults: Mapping | None = None) -> tuple[RowSettings, Rules]:
    """The settings given, else the defaults, else those of SETTINGS; checked.

    Args:
        settings, defaults: by the names of SETTINGS. Those of `RowSettings` may be lists.

    Raises:
        InputError: for a name or a value that means nothing.
    """
    for name in (*settings, *(defaults or ())):
        checks.check_one_of("setting", name, SETTINGS)
    chosen = {**SETTINGS, **(defaults or {}), **settings}
    stop = chosen["stop"]
    if not isinstance(stop, list | tuple) or not all(isinstance(one, str) and one for one in stop):
        raise InputError(f"`stop` must be a list of strings that are not empty. Received: {stop!r}.")
    if any("\ud800" <= character <= "\udfff" for one in stop for character in one):
        raise InputError(f"`stop` must be text; half a character never comes. Received: {stop!r}.")
    chosen["stop"] = tuple(stop)
    rows = RowSettings(*(chosen[name] for name in RowSettings._fields))
    rules = Rules(*(chosen[name] for name in Rules._fields))
    _check_rows(rows)
    _check_rules(rules)
    return rows, rules


def _check_rows(rows: RowSettings) -> None:
    for name, low, high, kinds in (
        ("max_new_tokens", 0, _MOST, "iu"),
        ("temperature", 0, float("inf"), "iuf"),
        ("top_k", 0, _MOST, "iu"),
        ("seed", -_MOST, _MOST, "iu"),
    ):
        values = _as_array(getattr(rows, name))
        if values.dtype.kind not in kinds or not ((values >= low) & (values <= high)).all():
            number = "number" if "f" in kinds else "whole number"
            most = "" if high == float("inf") else f" and at most {high:,}"
            received = getattr(rows, name)
            raise InputError(f"`{name}` must be a {number} of at least {low:,}{most}. Received: {received!r}.")
    shares = _as_array(rows.top_p)
    if shares.dtype.kind not in "iuf" or not ((shares > 0) & (shares <= 1)).all():
        raise InputError(f"`top_p` must be above 0 and at most 1. Received: {rows.top_p!r}.")


def _as_array(values: object) -> np.ndarray:
    """The values; lists of different lengths, which are no array, as an object."""
    try:
        return np.asarray(values)
    except ValueError:
        return np.empty((), object)


def _check_rules(rules: Rules) -> None:
    for name, kind in Rules.__annotations__.items():
        value = getattr(rules, name)
        if kind is int and not isinstance(value, numbers.Integral):
            raise InputError(f"`{name}` must be a whole number. Received: {value!r}.")
        if kind is float and not (isinstance(value, numbers.Real) and math.isfinite(value)):
            raise InputError(f"`{name}` must be a number. Received: {value!r}.")
    checks.check_between("min_new_tokens", rules.min_new_tokens, 0, _MOST)
    checks.check_between("min_p", rules.min_p, 0, 1)
    checks.check_between("no_repeat_ngram", rules.no_repeat_ngram, 0, _LONGEST_NGRAM)
    checks.check_between("num_beams", rules.num_beams, 1, 100)
    checks.check_between("length_penalty", rules.length_penalty, -_STEEPEST, _STEEPEST)
    if rules.repetition_penalty <= 0:
        raise InputError(f"`repetition_penalty` must be above 0. Received: {rules.repetition_penalty}.")
    if rules.num_beams > 1 and rules.stop:
        raise InputError("Beams are not looked through for `stop` strings: give `num_beams` or `stop`, not both.")
