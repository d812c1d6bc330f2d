"""`--task embed` and `--task similarity`, from pairs to a SavedModel that gives vectors and cosines."""

import io
import itertools

import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

from tests.marks import slow
from tfllm import export_savedmodel, load_model, load_tokenizer, manifest
from tfllm.checks import InputError
from tfllm.cli.evaluate import evaluate
from tfllm.cli.finetune import finetune
from tfllm.cli.tasks import find_task
from tfllm.export import Predictor

QUICK = {"size": "tiny", "batch_size": 16, "sequence_length": 32, "text": "one", "text_pair": "other"}
WORDS = ["cat", "cup", "warm", "tree", "book", "soup", "rain", "hand"]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Pairs that belong together hold the same two words; of scored pairs the score is how many they share."""
    directory = tmp_path_factory.mktemp("pairs")
    together = [f"the {a} and {b},{a} or a {b}\n" for a in WORDS for b in WORDS if a != b]
    (directory / "together.csv").write_text("one,other\n" + "".join(together * 2), "utf-8")
    scored = [
        f"the {a} and {b},{c} or a {d},{len({a, b} & {c, d})}\n"
        for a, b in itertools.pairwise(WORDS)
        for c, d in itertools.pairwise(WORDS)
    ]
    (directory / "scored.csv").write_text("one,other,shared\n" + "".join(scored * 2), "utf-8")
    return directory


@pytest.mark.slow
def test_partners_are_found_after_training_and_a_savedmodel_gives_the_vectors(files, tokenizer_directory, tmp_path):
    out, file = tmp_path / "model", str(files / "together.csv")
    options = {**QUICK, "task": "embed", "epochs": 6, "learning_rate": 3e-3}
    run = finetune(file, out, tokenizer=tokenizer_directory, **options)
    assert run["validation_scores"]["mean_reciprocal_rank"] > 0.6
    assert evaluate(out, file)["recall_at_10"] > 0.8
    assert set(evaluate(out, str(files / "scored.csv"), label="shared")) == {"examples", "pearson", "spearman"}

    model, tokenizer = load_model(out), load_tokenizer(out)
    version = export_savedmodel(model, tokenizer, tmp_path / "vectors", sequence_length=32)
    texts = ["the cat and cup", "cat or a cup", ""]
    served, own = Predictor(version).predict(text=texts), Predictor(out).predict(text=texts)
    np.testing.assert_allclose([row["embedding"] for row in own], [row["embedding"] for row in served], atol=1e-5)
    loaded = tf.saved_model.load(str(version))
    similarity = loaded.signatures["similarity"](text=tf.constant(texts[:1]), text_pair=tf.constant(texts[1:2]))
    assert float(similarity["score"][0]) == pytest.approx(np.dot(own[0]["embedding"], own[1]["embedding"]), abs=1e-5)
    console = Console(file=io.StringIO(), width=100)
    find_task("embed").show(own, console)
    assert f"{float(similarity['score'][0]):.2f}" in console.file.getvalue()


@pytest.mark.parametrize("loss", ["cosine", *slow("rank")])
def test_scores_of_pairs_become_cosines_or_their_order(files, tokenizer_directory, tmp_path, loss):
    out, file = tmp_path / "model", str(files / "scored.csv")
    options = {
        **QUICK,
        "similarity_loss": loss,
        "task": "similarity",
        "label": "shared",
        "epochs": 8,
        "learning_rate": 3e-3,
    }
    run = finetune(file, out, tokenizer=tokenizer_directory, augment_case=0.3, **options)
    assert run["validation_scores"]["spearman"] > 0.5
    assert evaluate(out, file)["pearson"] > 0.7
    recipe = manifest.read_manifest(out, "model")["arguments"]["recipe"]
    assert recipe["builder"] == "add_embedding_head"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "embed", "text_pair": None}, "Name the second text's column: --text-pair COLUMN"),
        ({"task": "embed", "label": "shared"}, "With scores: --task similarity"),
        ({"task": "similarity"}, "needs the column of the scores: --label COLUMN"),
        ({"task": "similarity", "label": "shared", "similarity_loss": "ranks"}, "did you mean 'rank'"),
        ({"task": "embed", "pooling": "compare"}, "`pooling` must be one of cls, mean"),
        ({"task": "embed", "augment_typos": 0.1}, "two versions of a text"),
        ({"task": "similarity", "label": "shared", "temperature": 0.1}, "--temperature is for --similarity-loss rank"),
    ],
)
def test_what_does_not_fit_together_is_refused(files, tokenizer_directory, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        finetune(str(files / "scored.csv"), tmp_path / "model", tokenizer=tokenizer_directory, **{**QUICK, **options})
