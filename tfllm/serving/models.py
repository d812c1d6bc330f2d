"""Models and their versions: found on disk, loaded, swapped, unloaded, while requests go on.

In: what should be served. Out: a version for each request, held until its answer is there.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tfllm.checks import InputError
from tfllm.serving.config import GRAPH_FILES, ModelConfig
from tfllm.serving.errors import ServingError, invalid
from tfllm.serving.metrics import Metrics
from tfllm.serving.spec import ModelSpec

if TYPE_CHECKING:
    from tfllm.serving.loaded import LoadedModel

log = logging.getLogger("tfllm")
_PARTS = (*GRAPH_FILES, "manifest.json", "assets.extra/tf_serving_warmup_requests")
START, LOADING, AVAILABLE, UNLOADING, END = "START", "LOADING", "AVAILABLE", "UNLOADING", "END"


class Version:
    """One version of a model.

    Attributes:
        state: START, LOADING, AVAILABLE, UNLOADING or END.
        error: why it is not served; None when nothing went wrong.
        model: what runs it, while it is AVAILABLE or UNLOADING.
    """

    def __init__(self, name: str, number: int, directory: Path):
        self.name, self.number, self.directory = name, number, directory
        self.state, self.error = START, None
        self.model: LoadedModel | None = None
        self.written = _written_at(directory)
        self._holders, self._free = 0, threading.Condition()

    def hold(self) -> None:
        """Keep it in memory until `release`."""
        with self._free:
            self._holders += 1

    def release(self) -> None:
        """Give back what `hold` took."""
        with self._free:
            self._holders -= 1
            self._free.notify_all()

    def is_free(self) -> bool:
        """Whether nobody holds it."""
        with self._free:
            return not self._holders

    def wait_until_free(self) -> None:
        """Wait until nobody holds it."""
        with self._free:
            self._free.wait_for(lambda: not self._holders)


class Models:
    """All models of a server.

    Args:
        find: gives what should be served; asked again and again.
        load: makes a model of a version's directory, or raises InputError.
        metrics: where loads are counted.
        poll_seconds: between two looks at the disk; 0: one look only.
    """

    def __init__(
        self,
        find: Callable[[], list[ModelConfig]],
        load: Callable[[Path], "LoadedModel"],
        metrics: Metrics,
        poll_seconds: float = 1.0,
    ):
        self._find, self._load, self._metrics, self._poll_seconds = find, load, metrics, poll_seconds
        self._versions: dict[str, dict[int, Version]] = {}
        self._configs: dict[str, ModelConfig] = {}
        self._empty: set[str] = set()  # models without a version, of which the log has told
        self._closed: dict[str, str] = {}  # models that may not be read, and why, of which it has told
        self._lock, self._looking, self._wake = threading.RLock(), threading.Lock(), threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._leaving: list[threading.Thread] = []
        self.first_look = threading.Event()  # set when everything found at first is loaded, or has failed

    def start(self) -> None:
        """Find out what should be served, then load it in a thread: from now on requests for it get UNAVAILABLE."""
        with contextlib.suppress(InputError, OSError):  # the thread's first look tells
            self._plan()
        self._thread.start()

    def stop(self) -> None:
        """Stop looking; then unload all."""
        self._stopping = True
        self._wake.set()
        if self._thread.ident:
            self._thread.join()
        for version in self.served():
            self._unload(version)
        for thread in self._leaving:
            thread.join()

    def replace(self, configs: list[ModelConfig]) -> None:
        """Serve these models from now on; returns when they are loaded, or have failed.

        Raises:
            InputError: when a base path is not there or may not be read; then what was served before goes on.
        """
        with self._looking:
            for config in configs:
                _check_open(config)
            before, self._find = self._find, lambda: configs
            try:
                self._look()
            except (InputError, OSError):
                self._find = before
                raise

    def look(self) -> None:
        """Find out what should be served; load and unload what it takes."""
        with self._looking:
            self._look()

    def _look(self) -> None:
        for name, wanted in self._plan().items():
            for number in sorted(wanted, reverse=True):
                version = self._versions[name][number]
                if version.state == START and not self._stopping:
                    self._bring_up(version)
            self._retire(name, wanted)

    def _plan(self) -> dict[str, dict[int, Path]]:
        """The directories of the versions that should be served, of each model there is or was; new ones are noted."""
        configs = {config.name: config for config in self._find()}
        with self._lock:
            known = {**self._versions, **configs}
            wanted, closed = {}, {}  # what may not be read, and why, stays as it is
            for name in known:
                try:
                    wanted[name] = configs[name].wanted() if name in configs else {}
                except PermissionError as error:
                    closed[name] = str(error)
                    wanted[name] = {one.number: one.directory for one in self._kept(name)}
            self._configs = configs  # from here on nothing fails
            self._tell_closed(closed)
            self._tell_empty([one for name, one in configs.items() if not wanted[name] and name not in closed])
            for name in wanted:
                self._versions.setdefault(name, {})
                for number, directory in wanted[name].items():
                    self._note(name, number, directory)
        return wanted

    def _kept(self, name: str) -> list[Version]:
        """The versions of a model that answer or will."""
        return [one for one in self._versions.get(name, {}).values() if one.state in (START, LOADING, AVAILABLE)]

    def _tell_closed(self, closed: dict[str, str]) -> None:
        """Say which models may not be read, and why: once, and again when they could be read meanwhile."""
        for name in closed.keys() - self._closed.keys():
            log.error("%s may not be read, what is served of it stays as it is: %s", name, closed[name])
        self._closed = closed

    def _tell_empty(self, configs: list[ModelConfig]) -> None:
        """Say of which models there is nothing to serve: once, and again when they had something meanwhile."""
        for config in configs:
            if config.name not in self._empty:
                files = " or ".join(f"{number}/saved_model.pb" for number in config.specific or (1,))
                more = "" if config.specific else ", or one with a higher number"
                log.warning(
                    "%s has no version to serve: %s should hold %s%s.", config.name, config.base_path, files, more
                )
        self._empty = {config.name for config in configs}

    @contextlib.contextmanager
    def acquire(self, spec: ModelSpec) -> Iterator[Version]:
        """The version that answers a request, held as long as the block lasts.

        Raises:
            ServingError: NOT_FOUND when there is none; UNAVAILABLE while it is loading; INVALID_ARGUMENT for a label
                nobody gave.
        """
        with self._lock:
            version = self._resolve(spec)
            version.hold()
        try:
            yield version
        finally:
            version.release()

    def status(self, spec: ModelSpec) -> list[Version]:
        """The versions of a model that are or were there, the highest first; the one asked for only, if any."""
        with self._lock:
            number = self._number(spec)
            versions = self._versions.get(spec.name, {})
            if number is not None:
                if number not in versions:
                    raise ServingError("NOT_FOUND", f"Could not find version {number} of model {spec.name}")
                return [versions[number]]
            if not versions:
                raise ServingError("NOT_FOUND", f"Could not find any versions of model {spec.name}")
            return [versions[number] for number in sorted(versions, reverse=True)]

    def served(self) -> list[Version]:
        """All versions that answer."""
        with self._lock:
            return [one for versions in self._versions.values() for one in versions.values() if one.state == AVAILABLE]

    def knows(self, name: str) -> bool:
        """Whether there is a model of this name."""
        with self._lock:
            return name in self._versions

    def labels(self, name: str) -> dict[str, int]:
        """Version by label, of a model."""
        with self._lock:
            return dict(self._configs[name].labels) if name in self._configs else {}

    def _resolve(self, spec: ModelSpec) -> Version:
        number = self._number(spec)
        versions = self._versions.get(spec.name, {})
        if number is None:
            candidates = [one for one in versions.values() if one.state == AVAILABLE]
            found = max(candidates, key=lambda one: one.number, default=None)
            shown, waited = f"Latest({spec.name})", list(versions.values())
        else:
            found = versions.get(number)
            shown, waited = f"Specific({spec.name}, {number})", [found] if found else []
        if found is not None and found.state == AVAILABLE:
            return found
        if any(one.state in (START, LOADING) for one in waited):
            raise ServingError("UNAVAILABLE", f"Servable is loading, not yet there for request: {shown}")
        raise ServingError("NOT_FOUND", f"Servable not found for request: {shown}")

    def _number(self, spec: ModelSpec) -> int | None:
        if spec.label is None:
            return spec.version
        labels = self.labels(spec.name)
        if spec.label not in labels:
            raise invalid(f"Unrecognized servable version label: {spec.label}")
        return labels[spec.label]

    def _note(self, name: str, number: int, directory: Path) -> None:
        """A version that stands on disk: new, wanted again though it is leaving, or written anew after it failed."""
        known = self._versions[name].get(number)
        gone = known is not None and known.state in (UNLOADING, END)
        if known is None or (gone and (known.error is None or known.written != _written_at(directory))):
            self._versions[name][number] = Version(name, number, directory)

    def _bring_up(self, version: Version) -> None:
        version.state = LOADING
        log.info("%s version %d is being loaded", version.name, version.number)
        began = time.monotonic()
        try:
            model = self._load(version.directory)
        except Exception as error:  # whatever a foreign SavedModel does, the others go on
            if not isinstance(error, InputError):
                log.exception("%s cannot be loaded", version.directory)
            with self._lock:
                version.state, version.error = END, _printable(str(error)) or type(error).__name__
            log.error("%s version %d is not served: %s", version.name, version.number, version.error)
            self._metrics.loaded(_printable(str(version.directory)), "fail", time.monotonic() - began)
            return
        with self._lock:
            version.model, version.state = model, AVAILABLE
        seconds = time.monotonic() - began
        log.info("%s version %d is served (loaded in %.1f s)", version.name, version.number, seconds)
        self._metrics.loaded(_printable(str(version.directory)), "success", seconds)

    def _retire(self, name: str, wanted: dict[int, Path]) -> None:
        """Unload what is not wanted any more, once something that is wanted answers in its place."""
        with self._lock:
            served = [one for one in self._versions[name].values() if one.state == AVAILABLE]
            if wanted and not any(one.number in wanted for one in served):
                return
            leaving = [one for one in served if one.number not in wanted]
        for version in leaving:
            self._unload(version)

    def _unload(self, version: Version) -> None:
        """Let a version go when its last request is answered; who still holds it keeps nothing else waiting."""
        with self._lock:
            version.state = UNLOADING
        if version.is_free():
            self._close(version)
            return
        thread = threading.Thread(target=self._close, args=(version,), daemon=True)
        self._leaving = [*(one for one in self._leaving if one.is_alive()), thread]
        thread.start()

    def _close(self, version: Version) -> None:
        version.wait_until_free()
        version.model.close()
        version.model = None
        version.state = END
        log.info("%s version %d is unloaded", version.name, version.number)

    def _watch(self) -> None:
        told = ""
        while not self._stopping:
            try:
                self.look()
                told = ""
            except (InputError, OSError) as error:
                if str(error) != told:
                    told = str(error)
                    log.error("%s: %s", "what is served stays as it is" if self.served() else "nothing is served", told)
            except Exception:
                log.exception("the models could not be looked for")
            self.first_look.set()
            if not self._poll_seconds:
                return
            self._wake.wait(self._poll_seconds)


def _check_open(config: ModelConfig) -> None:
    try:
        config.wanted()
    except PermissionError:
        raise InputError(f"{config.base_path}, the base path of {config.name}, may not be read.") from None


def _printable(text: str) -> str:
    """A text with escapes in place of what is none: names of files may hold any bytes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _written_at(directory: Path) -> tuple:
    """What changes when a version is written again."""
    found = []
    for file in (*(directory / name for name in _PARTS), *sorted(directory.glob("variables/*"))):
        with contextlib.suppress(OSError):
            status = file.stat()
            found.append((file.name, status.st_mtime_ns, status.st_ino, status.st_size))
    return tuple(found)
