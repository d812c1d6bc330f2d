"""`tfllm evaluate` on tiny real model directories: what is printed, written and refused."""

import json

import keras
import pytest
import typer
from typer.testing import CliRunner

from tfllm import manifest
from tfllm.checks import InputError
from tfllm.cli.evaluate import EvaluateCommand, evaluate
from tfllm.data import write_records
from tfllm.evaluation import model_card
from tfllm.models import (
    add_causal_lm_head,
    add_classifier_head,
    add_masked_lm_head,
    add_next_sentence_head,
    add_pretraining_heads,
    build_decoder,
    build_encoder,
    save_model,
)
from tfllm.tokenizers import WordPieceTokenizer, load_tokenizer

WORDS = ["good", "bad", "tea", "cup", "book", "rain", "warm", "cold", "and", "a"]
REVIEWS = [("good tea", "positive"), ("bad tea", "negative"), ("a good warm book", "positive"), ("cold", "negative")]


def save(directory, add_head, run, build=build_encoder):
    tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])
    keras.utils.set_random_seed(1)
    encoder = build(
        tokenizer.vocabulary_size,
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=16,
        max_sequence_length=32,
    )
    model = add_head(encoder)
    save_model(model, directory, tokenizer, run=run, card=model_card(directory.name, model, run))
    return directory


@pytest.fixture
def classifier(tmp_path):
    run = {"task": "classify", "text": "review", "label": "stars", "sequence_length": 16}
    return save(tmp_path / "reviews", lambda encoder: add_classifier_head(encoder, ["negative", "positive"]), run)


@pytest.fixture
def reviews(tmp_path):
    file = tmp_path / "test.csv"
    file.write_text("stars,review\n" + "".join(f"{label},{text}\n" for text, label in REVIEWS), "utf-8")
    return file


def run_command(*arguments):
    app = typer.Typer()
    app.command(cls=EvaluateCommand)(evaluate)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_classifier_is_scored_on_the_columns_it_was_trained_with(classifier, reviews, tmp_path):
    result = run_command(classifier, "--data", reviews, "--json", tmp_path / "scores.json")
    assert result.exit_code == 0, result.output
    assert "accuracy" in result.output and "Confusion matrix" in result.output
    scores = json.loads((tmp_path / "scores.json").read_text("utf-8"))
    assert scores["examples"] == 4
    assert [scores["per_class"][name]["support"] for name in ("negative", "positive")] == [2, 2]
    right = sum(name == label for name, (_, label) in zip(scores["predictions"], REVIEWS, strict=True))
    assert scores["accuracy"] == right / 4


def test_standard_output_is_json_alone_when_asked_for(classifier, reviews):
    result = run_command(classifier, "--data", reviews, "--json", "-")
    assert json.loads(result.stdout)["examples"] == 4
    for arguments in (["--data", reviews, "--json"], ["--json", "--data", reviews]):
        assert json.loads(run_command(classifier, *arguments).stdout)["examples"] == 4


def test_evaluating_twice_leaves_one_section_and_a_valid_directory(classifier, reviews):
    first = evaluate(classifier, [str(reviews)])
    assert evaluate(classifier, [str(reviews)]) == first
    manifest.check_files(classifier, manifest.read_manifest(classifier, "model"))
    card = (classifier / "README.md").read_text("utf-8")
    assert card.count("### test-") == 1
    assert f"| accuracy | {first['accuracy']:.4f} |" in card
    (file,) = (classifier / "evaluations").iterdir()
    assert "predictions" not in json.loads(file.read_text("utf-8"))["scores"]


def test_columns_can_be_named(classifier, tmp_path):
    file = tmp_path / "other.tsv"
    file.write_text("text\tlabel\ngood tea\tpositive\n", "utf-8")
    assert evaluate(classifier, [str(file)], text="text", label="label")["examples"] == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("stars,review\npostive,good tea\n", r"test.csv:2.*did you mean 'positive'"),
        ("review\ngood tea\n", "no column 'stars'"),
    ],
)
def test_data_that_do_not_fit_the_model_are_refused(classifier, tmp_path, rows, message):
    (tmp_path / "test.csv").write_text(rows, "utf-8")
    with pytest.raises(InputError, match=message):
        evaluate(classifier, [str(tmp_path / "test.csv")])


def test_a_second_text_is_for_models_of_pairs_and_they_need_one(classifier, reviews, tmp_path):
    with pytest.raises(InputError, match=r"reviews answers single texts: leave --text-pair out"):
        evaluate(classifier, [str(reviews)], text_pair="review")
    labels = ["negative", "positive"]
    run = {"text": "review", "label": "stars", "sequence_length": 16}
    pairs = save(tmp_path / "pairs", lambda encoder: add_classifier_head(encoder, labels, pairs=True), run)
    with pytest.raises(InputError, match=r"pairs answers pairs of texts: name the second's column: --text-pair COLUMN"):
        evaluate(pairs, [str(reviews)])
    header, *rows = reviews.read_text("utf-8").splitlines()
    reviews.write_text("\n".join([f"{header},reply", *(f"{row},thank you" for row in rows)]), "utf-8")
    assert evaluate(pairs, [str(reviews)], text_pair="reply")["examples"] == 4


def test_bad_rows_are_an_error_or_left_out_and_not_collected(classifier, reviews):
    reviews.write_text(f"{reviews.read_text('utf-8')}positive,\n", "utf-8")
    assert evaluate(classifier, [str(reviews)], on_bad_rows="skip")["examples"] == 4
    with pytest.raises(InputError, match=r"`on_bad_rows` must be one of error, skip\. Received: 'collect'"):
        evaluate(classifier, [str(reviews)], on_bad_rows="collect")


@pytest.mark.parametrize("add_head", [add_masked_lm_head, add_pretraining_heads])
def test_a_masked_language_model_is_scored_on_a_corpus(add_head, tmp_path):
    directory = save(tmp_path / "base", add_head, {"sequence_length": 16})
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("good tea and a cup. a warm book.\nbad cold rain. a good cup and tea.\n" * 4, "utf-8")
    scores = evaluate(directory, str(corpus))
    assert scores["masked_tokens"] > 0 and scores["loss"] > 0 and 0 <= scores["masked_accuracy"] <= 1
    assert scores["pseudo_perplexity"] > 1 and scores["sampled_texts"] == 8
    assert ("next_sentence_accuracy" in scores) == (add_head is add_pretraining_heads)
    assert "pseudo perplexity" in (directory / "README.md").read_text("utf-8")


@pytest.fixture
def records(tmp_path):
    """`records(model, length)`: a records directory for a model, of rows of a length."""
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("good tea and a cup\na warm book\nbad cold rain\na good cup and tea\n" * 4, "utf-8")

    def write(model, length):
        out = tmp_path / f"{model.name}-{length}"
        write_records(corpus, load_tokenizer(model), out, sequence_length=length, held_out=0.2, workers=1)
        return out

    return write


@pytest.mark.parametrize(
    ("add_head", "build", "counted"),
    [(add_masked_lm_head, build_encoder, "masked_tokens"), (add_causal_lm_head, build_decoder, "tokens")],
)
def test_a_language_model_is_scored_on_records(add_head, build, counted, records, tmp_path, caplog):
    directory = save(tmp_path / "base", add_head, {"sequence_length": 24}, build)
    scores = evaluate(directory, [str(records(directory, 16))])
    assert scores[counted] > 0 and scores["loss"] > 0
    assert "pseudo_perplexity" not in scores
    assert ("no pseudo-perplexity" in caplog.text) == (add_head is add_masked_lm_head)
    if add_head is add_causal_lm_head:  # the same tokens as of the text, each text whole in its row
        of_text = evaluate(directory, [str(tmp_path / "corpus.txt")])
        assert (scores["tokens"], scores["loss"]) == (of_text["tokens"], pytest.approx(of_text["loss"], rel=1e-5))
    with pytest.raises(InputError, match="must not exceed 32"):
        evaluate(directory, [str(records(directory, 64))])
    for option in ({"text": "body"}, {"encoding": "gb18030"}):
        with pytest.raises(
            InputError, match=f"--{next(iter(option))} says nothing where .*base is scored on such data"
        ):
            evaluate(directory, [str(tmp_path / "base-16")], **option)


def test_records_are_refused_by_models_that_need_texts(classifier, records, tmp_path):
    directory = records(classifier, 16)
    chat = save(tmp_path / "chat", add_causal_lm_head, {"task": "chat"}, build_decoder)
    for model in (classifier, chat):
        with pytest.raises(InputError, match="rows of token ids, which score only masked and causal language models"):
            evaluate(model, [str(directory)])


@pytest.mark.parametrize(
    ("add_head", "build"), [(add_masked_lm_head, build_encoder), (add_causal_lm_head, build_decoder)]
)
@pytest.mark.parametrize("option", ["label", "text_pair"])
def test_columns_that_a_language_model_does_not_read_are_refused(add_head, build, option, tmp_path):
    directory = save(tmp_path / "base", add_head, {"sequence_length": 16}, build)
    (tmp_path / "corpus.txt").write_text("good tea and a cup\n", "utf-8")
    with pytest.raises(InputError, match=f"--{option.replace('_', '-')} says nothing"):
        evaluate(directory, [str(tmp_path / "corpus.txt")], **{option: "stars"})


def test_columns_that_a_task_does_not_read_are_refused(tmp_path):
    directory = save(tmp_path / "chat", add_causal_lm_head, {"task": "chat"}, build_decoder)
    (tmp_path / "chat.jsonl").write_text("{}\n", "utf-8")
    with pytest.raises(InputError, match="--label says nothing"):
        evaluate(directory, [str(tmp_path / "chat.jsonl")], label="stars")


def test_a_next_sentence_model_is_scored_on_a_corpus(tmp_path):
    directory = save(tmp_path / "model", add_next_sentence_head, {"sequence_length": 16})
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("good tea and a cup. a warm book.\nbad cold rain. a good cup and tea.\n" * 4, "utf-8")
    scores = evaluate(directory, str(corpus))
    assert scores["pairs"] > 0 and scores["loss"] > 0


def test_a_bare_encoder_is_scored_by_its_vectors_of_pairs(tmp_path, reviews):
    directory = save(tmp_path / "encoder", lambda encoder: encoder, {})
    with pytest.raises(InputError, match="--text-pair COLUMN"):
        evaluate(directory, str(reviews))
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("one,other,score\ngood tea,good cup,5\nbad rain,a warm book,0\ncold,cold,4.5\n", "utf-8")
    assert -1 <= evaluate(directory, str(pairs), text="one", text_pair="other", label="score")["spearman"] <= 1
    assert evaluate(directory, str(pairs), text="one", text_pair="other")["pool"] == 3


def test_a_model_directory_without_a_manifest_is_refused(tmp_path, reviews):
    with pytest.raises(InputError, match="no such directory"):
        evaluate(tmp_path / "nothing", [str(reviews)])
