"""`tfllm finetune --task chat`: a decoder learns answers, is scored, keeps its template; adapters alone can learn."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from tfllm import load_encoder, load_tokenizer
from tfllm.checks import InputError
from tfllm.cli import app
from tfllm.cli.chatting import chat
from tfllm.cli.evaluate import evaluate
from tfllm.cli.finetune import finetune
from tfllm.cli.tasks.chat import ChatTask
from tfllm.generation import TextGenerator
from tfllm.tokenizers import train_byte_bpe
from tfllm.tokenizers.chat import default_template

QUESTIONS = {"What colour is the sky?": "Blue.", "What colour is grass?": "Green.", "Who are you?": "A small model."}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    file = tmp_path_factory.mktemp("chat") / "chat.jsonl"
    rows = [
        {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
        for question, answer in QUESTIONS.items()
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows * 8), "utf-8")
    return file


@pytest.fixture(scope="module")
def tokenizer_directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tokenizer") / "t"
    train_byte_bpe([*QUESTIONS, *QUESTIONS.values()] * 4, vocabulary_size=300).save(directory)
    return directory


@pytest.fixture(scope="module")
def chatting(data, tokenizer_directory, tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "m"
    run = finetune(
        [str(data)],
        out,
        task="chat",
        validation=[str(data)],
        tokenizer=tokenizer_directory,
        size="tiny",
        epochs=30,
        batch_size=12,
        sequence_length=64,
        learning_rate=5e-3,
        dropout=0.0,
    )
    return out, run


@pytest.fixture(scope="module")
def generator(chatting):
    return TextGenerator.load(chatting[0])


def test_it_answers_what_it_learned_and_keeps_the_template(chatting, generator):
    out, run = chatting
    assert run["validation_scores"]["perplexity"] < 1.2
    for question, answer in QUESTIONS.items():
        assert generator.chat([{"role": "user", "content": question}])["text"] == answer
    tokenizer = load_tokenizer(out)
    assert tokenizer.chat_template == default_template(tokenizer.special_tokens)


def test_only_the_first_validation_is_traced(chatting, data, check_traced_once):
    run = check_traced_once(ChatTask(), chatting[0], data)
    assert run["monitor"] == "loss"


def run_command(*arguments, **streams):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], **streams)


def test_a_conversation_goes_on_until_there_is_no_more_input(chatting, generator, capsys):
    lines = "\n".join(["Who are you?", "", "/new", "What colour is grass?"])
    done = run_command("generate", chatting[0], "--chat", input=lines)
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[-2:] == ["A small model.", "Green."]
    chat(generator, ["Who are you?"], {}, system="Be kind.", as_json=True)
    row = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert row["prompt"] == "Who are you?" and row["num_tokens"] > 0
    done = run_command("generate", chatting[0], "a", "--system", "b")
    assert done.exit_code and "give --chat" in str(done.exception)


@pytest.mark.slow
def test_evaluate_scores_its_answers(chatting, data, tmp_path):
    evaluate(chatting[0], [str(data)], json_file=str(tmp_path / "scores.json"))
    scores = json.loads((tmp_path / "scores.json").read_text("utf-8"))
    assert scores["exact_match"] == 1.0 and scores["perplexity"] < 1.2 and scores["examples"] == 24


def test_adapters_alone_can_learn(chatting, data, tmp_path):
    options = {"batch_size": 12, "sequence_length": 64, "learning_rate": 1e-2}
    files = {"data": [str(data)], "validation": [str(data)], "task": "chat"}
    finetune(**files, out=tmp_path / "m", init=chatting[0], lora_rank=2, epochs=1, **options)
    before, after = load_encoder(chatting[0]), load_encoder(tmp_path / "m")
    for old, new in zip(before.weights, after.weights, strict=True):
        assert np.array_equal(old, new) != old.path.endswith("attention_input/kernel"), old.path


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"text": "messages"}, "--text says nothing to --task chat"),
        ({"augment_typos": 0.1}, "changes texts at random"),
        ({"size": "huge"}, "`size` must be one of"),
    ],
)
def test_options_that_mean_nothing_are_refused(data, tokenizer_directory, tmp_path, options, reason):
    with pytest.raises(InputError, match=reason):
        finetune([str(data)], tmp_path / "m", task="chat", tokenizer=tokenizer_directory, epochs=1, **options)
