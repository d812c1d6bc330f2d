"""The notebooks run from top to bottom, on this machine's processor."""

import importlib.util
import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.marks import slow

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
NAMES = sorted(file.name for file in NOTEBOOKS.glob("*.ipynb"))
LONGEST = ("entities_and_answers.ipynb", "translate_and_chat.ipynb")  # four trainings; two exports that write
_SHORTENED = {
    "PRETRAINING_STEPS = 400": "PRETRAINING_STEPS = 5",
    "EPOCHS = 5": "EPOCHS = 1",
    'SIZE = "mini"': 'SIZE = "tiny"',
}
SHORTENED = {  # of each notebook; of the others those of `_SHORTENED`
    "entities_and_answers.ipynb": {**_SHORTENED, "ROWS = 400": "ROWS = 40"},
    "translate_and_chat.ipynb": {
        "TRANSLATION_STEPS = 400": "TRANSLATION_STEPS = 4",
        "CHAT_STEPS = 250": "CHAT_STEPS = 4",
        '"num_layers": 2': '"num_layers": 1',
    },
}
ANSWERS = {  # how its last lines begin; of the others with a label
    "entities_and_answers.ipynb": tuple("0123456789"),
    "translate_and_chat.ipynb": ("The child drinks milk. -> '", "What do cats eat? -> '"),
}


@pytest.mark.parametrize("name", [*sorted(set(NAMES) - set(LONGEST)), *slow(*LONGEST)])
def test_a_notebook_runs_and_ends_with_answers_of_the_savedmodel(name, tmp_path):
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    (parameters,) = (cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    for long, short in SHORTENED.get(name, _SHORTENED).items():
        assert long in parameters.source
        parameters.source = parameters.source.replace(long, short)

    environment = dict(os.environ)
    if name == "pretrain_on_tpu.ipynb" and importlib.util.find_spec("jax"):
        environment["KERAS_BACKEND"] = "jax"  # as on a TPU
    client = NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env=environment)

    printed = [output.text for output in notebook.cells[-1].outputs if output.name == "stdout"]
    answers = "".join(printed).splitlines()
    assert [line.startswith(ANSWERS.get(name, ("positive", "negative"))) for line in answers] == [True, True]


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_committed_without_outputs_and_with_a_colab_badge(name):
    notebook = nbformat.read(NOTEBOOKS / name, as_version=4)
    assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code")
    assert f"notebooks/{name}" in notebook.cells[0].source
