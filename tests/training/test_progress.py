"""Progress off a terminal: lines with step, loss, tokens per second and time left."""

import io
import re

import pytest
from rich.console import Console

from tfllm.losses import ClassificationLoss
from tfllm.training import Progress, adamw, train_classifier
from tfllm.training.loop import fit_steps
from tfllm.training.progress import _duration
from tfllm.training.run import Memory

LINE = r"step (\d+)/8  loss \d+\.\d{4}  [\d,]+ tokens/s  \d+:\d\d left"
FIRST = r"step 1/8  loss \d+\.\d{4}"  # nothing is timed yet


def lines_of_a_run(classifier, dataset, interval_seconds, **arguments):
    output = io.StringIO()
    progress = Progress(8, 64, Console(file=output, width=200), interval_seconds)
    train_classifier(classifier, dataset, epochs=2, callbacks=[progress], **arguments)
    return output.getvalue().splitlines()


def test_off_a_terminal_every_interval_is_a_line_and_every_epoch_too(make_classifier, make_dataset):
    lines = lines_of_a_run(make_classifier(), make_dataset(), 0)
    steps = [line for line in lines if line.startswith("step")]
    assert re.fullmatch(FIRST, steps[0])
    assert [re.fullmatch(LINE, line)[1] for line in steps[1:]] == [str(number) for number in range(2, 9)]
    assert steps[-1].endswith("0:00 left")
    epochs = [line for line in lines if not line.startswith("step")]
    assert [re.match(r"epoch (\d)  .*loss \d\.\d{4}", line)[1] for line in epochs] == ["1", "2"]


def test_within_an_interval_there_is_no_line_and_scores_stand_behind_the_epoch(make_classifier, make_dataset):
    lines = lines_of_a_run(make_classifier(), make_dataset(), 3600, validation=make_dataset(seed=1))
    assert len(lines) == 2
    assert re.search(r"val_macro_f1 [01]\.\d{4}", lines[0])


def test_steps_are_counted_on_over_the_stages_of_a_run(make_classifier, make_dataset):
    lines = lines_of_a_run(make_classifier(), make_dataset(), 0, unfreeze_gradually=True)
    assert re.fullmatch(LINE, [line for line in lines if line.startswith("step")][-1])[1] == "8"
    assert [line.split()[1] for line in lines if line.startswith("epoch")] == ["1", "2"]


def test_a_later_stage_of_a_run_that_was_killed_is_counted_on(make_classifier, make_dataset):
    """The optimizer of the stage counts from 0."""
    output, memory, model = io.StringIO(), Memory(), make_classifier()
    memory.step = 4
    model.compile(adamw(1e-3, total_steps=4), loss=ClassificationLoss())
    batches = make_dataset()
    progress = Progress(8, 64, Console(file=output, width=200), 0)
    fit_steps(
        model, lambda start: batches.repeat().skip(start), memory, last_step=8, epoch_steps=4, callbacks=[progress]
    )
    steps = [line for line in output.getvalue().splitlines() if line.startswith("step")]
    assert re.fullmatch(FIRST.replace("1/", "5/"), steps[0])
    assert [re.fullmatch(LINE, line)[1] for line in steps[1:]] == ["6", "7", "8"]


def test_on_a_terminal_one_bar_lasts_for_the_whole_run(make_classifier, make_dataset):
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=200)
    train_classifier(
        make_classifier(), make_dataset(), epochs=2, unfreeze_gradually=True, callbacks=[Progress(8, 64, console)]
    )
    frames = output.getvalue()
    assert "8/8" in frames
    assert all(frame.count("training") <= 1 for frame in frames.split("\r"))


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.9, "0:59"), (61, "1:01"), (3661, "1:01:01")])
def test_durations_are_clock_times(seconds, text):
    assert _duration(seconds) == text
