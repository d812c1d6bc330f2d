"""Questions from files; parts that share no context; windows whose targets point at the answer, and only there."""

import json
import logging

import numpy as np
import pytest
import tensorflow as tf

from tfllm.checks import InputError
from tfllm.data.answers import Answer
from tfllm.data.question_answering import (
    Questions,
    fold_questions,
    question_batches,
    read_questions,
    split_questions,
    warn_of_shared_contexts,
)
from tfllm.tokenizers import WordPieceTokenizer
from tfllm.tokenizers.question_windows import cut_windows, default_stride

HEADER = "question,context,answer,answer_start,id\n"


@pytest.fixture
def write(tmp_path):
    def write(content, name="qa.csv"):
        (tmp_path / name).write_text(content, "utf-8")
        return tmp_path / name

    return write


def questions(contexts, answers=None):
    """Rows with these contexts and (text, start) answers."""
    answers = [[] for _ in contexts] if answers is None else [[Answer(*one) for one in row] for row in answers]
    numbers = [str(number) for number in range(len(contexts))]
    return Questions(["what?"] * len(contexts), list(contexts), answers, numbers, numbers)


def test_a_table_is_read_with_offsets_and_ids(write):
    file = write(f"{HEADER}Who?,Ada wrote.,Ada,0,q1\nWhat?,Ada wrote.,,,q2\n")
    rows = read_questions(file)
    assert len(rows) == 2
    assert rows.questions == ["Who?", "What?"]
    assert rows.contexts == ["Ada wrote."] * 2
    assert rows.answers == [[Answer("Ada", 0)], []]
    assert rows.ids == ["q1", "q2"]
    assert rows.places == [f"{file}:2", f"{file}:3"]
    assert rows.bad_rows == rows.repairs == []
    picked = rows.select([1])
    assert (picked.questions, picked.answers, picked.places) == (["What?"], [[]], [f"{file}:3"])


def test_json_lines_with_other_column_names_and_several_answers_are_read(write):
    line = {"q": "Who?", "text": "Ada wrote.", "answers": {"text": ["Ada", "Ada wrote"], "answer_start": [0, 0]}}
    file = write(json.dumps(line), "qa.jsonl")
    rows = read_questions(file, question="q", context="text")
    assert rows.answers == [[Answer("Ada", 0), Answer("Ada wrote", 0)]]
    assert rows.ids == [f"{file}:1"]


def test_columns_without_a_header_are_named_by_number(write):
    rows = read_questions(write("wrote\tWhat?\tAda wrote.\n", "qa.tsv"), question="1", context="2", answer="0")
    assert rows.answers == [[Answer("wrote", 4)]]


def test_squad_and_tables_are_read_together(write):
    squad = {
        "data": [{"paragraphs": [{"context": "我爱北京。", "qas": [{"id": 7, "question": "谁?", "answers": []}]}]}]
    }
    files = [write(json.dumps(squad), "a.json"), write(f"{HEADER}Who?,Ada wrote.,Ada,0,q1\n", "b.csv")]
    rows = read_questions(files)
    assert rows.contexts == ["我爱北京。", "Ada wrote."]
    assert rows.ids == ["7", "q1"]


def test_bad_rows_are_named_and_left_out_if_asked(write, caplog):
    file = write(f"{HEADER}Who?,Ada wrote.,Bob,0,q1\n,Ada wrote.,Ada,0,q2\nWho?,Ada wrote.,Ada,0,q3\n")
    with pytest.raises(InputError) as error:
        read_questions(file)
    assert str(error.value).split("\n")[:2] == [
        f"{file}:2: answer: 'Bob' is not in the context",
        f"{file}:3: question: empty",
    ]
    rows = read_questions(file, on_bad_rows="skip")
    assert (len(rows), len(rows.bad_rows)) == (1, 2)
    assert "2 of 3 questions were bad and left out" in caplog.text
    assert len(read_questions(file, on_bad_rows="collect").bad_rows) == 2


def test_a_wrong_offset_is_repaired_and_said(write, caplog):
    rows = read_questions(write(f"{HEADER}Who?,So Ada wrote.,Ada,0,q1\n"))
    assert rows.answers == [[Answer("Ada", 3)]]
    assert [(row.column, row.reason) for row in rows.repairs] == [
        ("answer", "'Ada' does not start at character 0, but at 3")
    ]
    assert "1 of 1 answers have no place in their context, a wrong one or several" in caplog.text


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        ("question,context\nWho?,Ada\n", {}, "no column 'answer'"),
        (f"{HEADER}Who?,Ada,Ada,0,q\n", {"question": "query"}, "no column 'query'"),
        (f"{HEADER}Who?,Ada,Ada,0,q\n", {"on_bad_rows": "ignore"}, "`on_bad_rows` must be one of"),
        (HEADER, {}, "No usable question"),
        (f"{HEADER}Who?,Ada,Bob,0,q\n", {"on_bad_rows": "skip"}, "1 of 1 questions are bad"),
    ],
)
def test_what_cannot_be_read_is_an_input_error(write, content, arguments, message):
    with pytest.raises(InputError, match=message):
        read_questions(write(content), **arguments)


def test_tfds_is_refused_with_a_remedy():
    with pytest.raises(InputError, match="Write this data set as JSON lines first, each with `question`, `context`"):
        read_questions("tfds:squad")


def test_real_files_are_read_and_repaired(shared_data):
    cmrc = read_questions(shared_data / "cmrc2018" / "cmrc2018_dev.json.gz")
    assert len(cmrc) == 3219
    assert len(cmrc.repairs) == 200  # 193 answers are not in the text, 7 stand elsewhere
    assert sum(answer.start < 0 for answers in cmrc.answers for answer in answers) == 193
    for context, answers in zip(cmrc.contexts, cmrc.answers, strict=True):
        assert all(context.startswith(answer.text, answer.start) for answer in answers if answer.start >= 0)
    xquad = read_questions(shared_data / "xquad" / "xquad.zh.json.gz")
    assert (len(xquad), xquad.repairs) == (1190, [])
    assert xquad.places[0].endswith(
        "xquad.zh.json.gz: article 1 (Super_Bowl_50), paragraph 1, question 56beb4343aeaaa14008c925b"
    )


def test_a_split_keeps_the_questions_of_a_context_together():
    rows = questions([f"context {number // 3}" for number in range(30)])
    train, validation = split_questions(rows, 0.2, seed=1)
    assert len(train) + len(validation) == 30
    assert 6 <= len(validation) <= 8
    assert not set(train.contexts) & set(validation.contexts)
    assert validation.ids == split_questions(rows, 0.2, seed=1)[1].ids
    assert validation.ids != split_questions(rows, 0.2, seed=2)[1].ids


def test_contexts_that_differ_in_case_and_white_space_only_stay_together():
    rows = questions(["A context.", "a  Context.", "Ａ context.", "another one"])
    for seed in range(4):
        _, validation = split_questions(rows, 0.2, seed)
        assert len(validation) in (1, 3)


def test_folds_hold_every_question_once_and_no_context_twice():
    rows = questions([f"context {number % 7}" for number in range(30)])
    parts = list(fold_questions(rows, 3, seed=0))
    assert sorted(identity for _, validation in parts for identity in validation.ids) == sorted(rows.ids)
    for train, validation in parts:
        assert not set(train.contexts) & set(validation.contexts)
        assert len(train) + len(validation) == 30


@pytest.mark.parametrize(
    "split",
    [
        lambda rows: split_questions(rows, 0.5, 0),
        lambda rows: split_questions(rows, 0.0, 0),
        lambda rows: fold_questions(rows, 2, 0),
    ],
)
def test_one_context_cannot_be_split(split):
    with pytest.raises(InputError, match="context"):
        split(questions(["the same"] * 10))


def test_contexts_in_both_parts_are_counted_and_said(caplog):
    train, validation = questions(["a b", "c"]), questions(["A  b", "d", "a b"])
    assert warn_of_shared_contexts(train, validation) == 2
    assert "2 of the 3 validation questions are about contexts of the training part" in caplog.text
    caplog.clear()
    assert warn_of_shared_contexts(train, questions(["d"])) == 0
    assert not caplog.text


def test_windows_are_full_overlap_and_miss_nothing():
    tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghij"])
    ids = tokenizer.tokenize(["a b c d e f g h i j", "a", ""])
    windows = cut_windows(tokenizer, tokenizer.tokenize(["a", "b", "c"]), ids, 10, stride=3)
    assert windows.questions.numpy().tolist() == [0, 0, 0, 1, 2]
    assert windows.starts.numpy().tolist() == [0, 3, 4, 0, 0]
    assert windows.lengths.numpy().tolist() == [6, 6, 6, 1, 0]
    assert windows.places.numpy().tolist() == [3] * 5
    cls, sep, a = tokenizer.cls_id, tokenizer.sep_id, 5
    assert windows.token_ids.to_list()[2:] == [
        [cls, a, sep, *range(a + 4, a + 10), sep],
        [cls, a + 1, sep, a, sep],
        [cls, a + 2, sep, sep],
    ]
    assert windows.segment_ids.to_list()[3] == [0, 0, 0, 1, 1]


def test_a_long_question_is_cut_to_a_third_and_a_large_stride_skips_nothing():
    tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"])
    windows = cut_windows(tokenizer, tokenizer.tokenize("a " * 50), tokenizer.tokenize("a " * 20), 12, stride=100)
    assert windows.places.numpy().tolist() == [5, 5, 5, 5]
    assert windows.starts.numpy().tolist() == [0, 6, 12, 14]
    assert (default_stride(8), default_stride(128), default_stride(512)) == (2, 42, 128)


def test_two_separators_leave_the_context_in_segment_1():
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"]
    tokenizer = WordPieceTokenizer(vocabulary)
    tokenizer.pair_separators = 2
    windows = cut_windows(tokenizer, tokenizer.tokenize("a a"), tokenizer.tokenize("b " * 5), 10, stride=2)
    cls, sep, a, b = tokenizer.cls_id, tokenizer.sep_id, 5, 6
    assert windows.token_ids.to_list() == [[cls, a, a, sep, sep, b, b, b, b, sep]] * 2
    assert windows.segment_ids.to_list() == [[0] * 5 + [1] * 5] * 2
    assert (windows.starts.numpy().tolist(), windows.places.numpy().tolist()) == ([0, 1], [5, 5])


@pytest.mark.parametrize(("length", "stride"), [(7, 2), (16, 0)])
def test_windows_without_room_or_step_are_refused(length, stride):
    tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a"])
    with pytest.raises(InputError, match="must be at least"):
        cut_windows(tokenizer, tokenizer.tokenize("a"), tokenizer.tokenize("a"), length, stride)


def examples(batches):
    """(token ids without padding, values, weight) of every window of an epoch."""
    found = []
    for inputs, values, weights in batches().take(batches.epoch_steps):
        lengths = inputs["padding_mask"].numpy().sum(axis=1)
        for row, length in enumerate(lengths):
            found.append((inputs["token_ids"][row, :length].numpy(), values[row].numpy().tolist(), float(weights[row])))
    return found


@pytest.fixture(scope="module")
def chinese_bert(shared_models):
    vocabulary = (shared_models / "bert-base-chinese" / "vocab.txt").read_text("utf-8").split("\n")
    return WordPieceTokenizer([token for token in vocabulary if token])


@pytest.mark.parametrize(
    ("context", "answer", "covered"),
    [
        ("《战国无双3》由光荣和ω-force开发。", "光荣和ω-force", "光荣和ω-force"),
        ("El Café e\u0301s 👩‍👩‍👧 bo, 😀 sí!", "Café", "Café"),
        ("El Café e\u0301s bo, sí!", "e\u0301s", "e\u0301s"),
        ("他😀在1990s出生", "1990", "1990"),
        ("他😀在1990s出生", "出生", "出生"),
        ("unbelievable story", "believ", "unbelievable"),
    ],
)
def test_targets_point_at_the_tokens_that_cover_the_answer(chinese_bert, context, answer, covered):
    start = context.index(answer)
    rows = questions([context], [[(answer, start)]])
    ((_, (first, last), weight),) = examples(question_batches(rows, chinese_bert, sequence_length=64))
    tokens = chinese_bert.tokenize_with_offsets(context)
    place = int(chinese_bert.tokenize("what?").row_lengths()[0]) + 2
    begin = int(tokens.character_starts[0, first - place])
    end = int(tokens.character_ends[0, last - place])
    assert weight == 1
    assert begin <= start and start + len(answer) <= end
    assert context[begin:end] in covered and answer in context[begin:end]


def test_questions_that_are_cut_are_counted(chinese_bert, caplog):
    rows = questions(["甲乙", "丙"])
    rows.questions[1] = "什么" * 10
    question_batches(rows, chinese_bert, sequence_length=16)
    assert "1 of 2 questions are longer than 4 tokens and were cut." in caplog.text


def test_a_window_without_the_whole_answer_points_at_cls(chinese_bert):
    context, answer = "甲" * 20 + "答案很长" + "乙" * 20, "答案很长"
    rows = questions([context], [[(answer, 20)]])
    batches = question_batches(rows, chinese_bert, sequence_length=16, stride=4, batch_size=3)
    wanted, holding = chinese_bert.tokenize(answer)[0].numpy().tolist(), 0
    for token_ids, (first, last), _ in examples(batches):
        part = token_ids[first : last + 1].tolist()
        whole = any(token_ids[at : at + 4].tolist() == wanted for at in range(len(token_ids)))
        assert part == (wanted if whole else [chinese_bert.cls_id])
        holding += whole
    assert 1 <= holding < len(examples(batches))


def test_the_most_frequent_answer_that_stands_in_the_context_is_learnt(chinese_bert):
    answers = [[("丁", -1), ("丁", -1), ("丁", -1), ("甲", 0), ("乙丙", 1), ("乙丙", 1)]]
    ((token_ids, (first, last), _),) = examples(question_batches(questions(["甲乙丙"], answers), chinese_bert))
    assert token_ids[first : last + 1].tolist() == chinese_bert.tokenize("乙丙")[0].numpy().tolist()


def test_no_answer_points_at_cls_and_an_invisible_one_is_not_learnt(chinese_bert, caplog):
    rows = questions(["ab", "\u200b\u200bab"], [[], [("\u200b\u200b", 0)]])
    found = sorted(weight for _, values, weight in examples(question_batches(rows, chinese_bert)) if values == [0, 0])
    assert found == [0, 1]
    assert "1 windows are not learnt from" in caplog.text


def test_batches_go_on_where_they_were_stopped(chinese_bert, caplog):
    caplog.set_level(logging.INFO, "tfllm")
    rows = questions(["甲乙" * (number + 1) for number in range(9)], [[("乙", 1)]] * 9)
    batches = question_batches(rows, chinese_bert, sequence_length=12, batch_size=2, seed=3)
    whole = list(batches().take(12))
    for number, (expected, found) in enumerate(zip(whole[5:], batches(5).take(7), strict=True), 5):
        tf.nest.map_structure(np.testing.assert_array_equal, expected, found)
        assert whole[number][1].shape == (whole[number][0]["token_ids"].shape[0], 2)
    assert "9 questions make" in caplog.text


def test_a_column_is_for_one_thing_only(write):
    file = write(f"{HEADER}Who?,Ada wrote.,Ada,0,q1\n")
    with pytest.raises(InputError, match="Column 'question' is named twice"):
        read_questions(file, context="question")
