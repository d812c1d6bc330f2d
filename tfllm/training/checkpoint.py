"""Checkpoints of a run: all that decides how it goes on, written whole or not at all, verified when read.

A checkpoint is a directory `checkpoint-NNNNNN`, numbered as they are written, with `state.npz` and a manifest with its
hash. In: a compiled model and what else the run remembers. Out: the same, bit for bit, in another process.
"""

import logging
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from tfllm import manifest
from tfllm.checks import InputError

log = logging.getLogger("tfllm")
KIND = "checkpoint"
_STATE = "state.npz"
_NAME = re.compile(r"checkpoint-(\d+)")
_SPARE_BYTES = 1 << 20  # manifest, directories, zip headers


class Restored(NamedTuple):
    """What a checkpoint holds."""

    path: Path
    step: int
    notes: dict
    arrays: list[np.ndarray]
    model: list[np.ndarray]


class Checkpoints:
    """The last few checkpoints of one training.

    Args:
        directory: where they stand; it is made when the first is written.
        keep: how many stay; older ones are removed after a newer one stands.
    """

    def __init__(self, directory: str | Path, keep: int = 2):
        self.directory, self._keep = Path(directory), keep
        self._damaged = set()

    def save(self, model: keras.Model, step: int, notes: dict, arrays: Sequence[np.ndarray] = ()) -> bool:
        """Write a checkpoint: weights, optimizer, seed generators, and the run's own notes and arrays.

        Args:
            model: compiled, its optimizer built.
            step: how many batches it has seen.
            notes: JSON values to be given back.
            arrays: further arrays to be given back.

        Returns:
            False when the disk is too full; the log then says how many bytes are missing, and the last good checkpoint
            stays.
        """
        if keras.backend.backend() == "jax":
            model.jax_state_sync()  # in `fit` the variables themselves are not up to date
        state = {f"model_{number:05d}": np.asarray(variable) for number, variable in enumerate(_variables(model))}
        state |= {f"extra_{number:05d}": array for number, array in enumerate(arrays)}
        for unfinished in self.directory.glob(".checkpoint-*"):  # it was killed while writing
            shutil.rmtree(unfinished)
        path = self.directory / f"checkpoint-{self._last_number() + 1:06d}"
        arguments = {"step": step, "notes": notes}
        needed = sum(array.nbytes for array in state.values()) + _SPARE_BYTES
        try:
            with manifest.write_directory(path, KIND, arguments) as beside:
                np.savez(beside / _STATE, **state)
        except OSError as error:
            if error.errno not in manifest.DISK_FULL:
                raise
            self._say_missing(step, needed)
            return False
        whole = [old for old in self._all() if old not in self._damaged]
        for old in [*self._damaged, *whole[: -self._keep]]:
            shutil.rmtree(old)
        self._damaged.clear()
        return True

    def read(self) -> Restored | None:
        """The newest whole checkpoint; None if there is none.

        A damaged one is named in the log, and the one before it is used; the next that is written replaces it.
        """
        paths, self._damaged = self._all(), set()
        while paths:
            path = paths.pop()
            try:
                found = manifest.read_manifest(path, KIND)
                manifest.check_files(path, found)
            except (InputError, OSError) as error:  # a disk may refuse to read what stood on it
                remedy = "The checkpoint before it is used." if paths else "No whole one is left: training begins anew."
                log.warning("%s %s", error, remedy)
                self._damaged.add(path)
                continue
            with np.load(path / _STATE, allow_pickle=False) as stored:
                extra, state = (
                    [stored[name] for name in sorted(stored.files) if name.startswith(part)]
                    for part in ("extra_", "model_")
                )
            arguments = found["arguments"]
            return Restored(path, arguments["step"], arguments["notes"], extra, state)
        return None

    def _all(self) -> list[Path]:
        found = (path for path in self.directory.glob("checkpoint-*") if _NAME.fullmatch(path.name) and path.is_dir())
        return sorted(found, key=_number)

    def _last_number(self) -> int:
        return max(map(_number, self._all()), default=0)

    def _say_missing(self, step: int, needed: int) -> None:
        missing = max(needed - shutil.disk_usage(self.directory).free, 1)
        whole = self._all()
        last = f"the last good one is {whole[-1]}" if whole else "there is none yet"
        log.error(
            "No room for a checkpoint at step %d: %s more bytes are needed on the disk of %s; %s. Training goes on.",
            step,
            f"{missing:,}",
            self.directory,
            last,
        )


def _number(path: Path) -> int:
    return int(_NAME.fullmatch(path.name)[1])


def _variables(model: keras.Model) -> list[keras.Variable]:
    return [*model.variables, *model.optimizer.variables]  # a model's variables include its seed generators'


def build_optimizer(model: keras.Model) -> None:
    """Create the optimizer's variables if they are not there: Keras's `LossScaleOptimizer` would make some anew."""
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)


def restore(model: keras.Model, found: Restored) -> None:
    """Put a checkpoint's state into a compiled model.

    Raises:
        InputError: when the checkpoint is of another model.
    """
    build_optimizer(model)
    variables = _variables(model)
    stored, wanted = ([tuple(entry.shape) for entry in entries] for entries in (found.model, variables))
    if stored != wanted:
        raise InputError(
            f"{found.path} is of another model: it holds {len(stored)} arrays, this model has {len(wanted)} variables, "
            "or their shapes differ. Use the arguments the run was started with."
        )
    for variable, value in zip(variables, found.model, strict=True):
        variable.assign(value)
