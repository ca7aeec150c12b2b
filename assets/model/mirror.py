"""A run's checkpoints, records and results in the store: `runs/<name>/`, for the machine that goes on with it.

    runs/<name>/checkpoints/step-00000120/...   whole once its state.json is there, which is written last and deleted first
    runs/<name>/metrics.jsonl, pipes.jsonl      as far as the run is
    runs/<name>/result.json, weights            once it has ended

The folder of a run is local to whoever trains; this keeps the store at most a few seconds behind it. A store that cannot
be reached for a while does not disturb training: what is missing there is put up later, at the latest at the end.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from assets.model.config import Task
from assets.store import Store, write_atomically
from training.model.exposure import CHECKPOINTS

WHOLE = "state.json"  # of a checkpoint: what makes it whole
METRICS, PIPES, RESULT = "metrics.jsonl", "pipes.jsonl", "result.json"
EVERY_S = 2.0


class Mirror:
    """One run's folder and its place in the store."""

    def __init__(self, store: Store, name: str, run_dir: Path) -> None:
        self.store, self.below, self.run_dir = store, f"runs/{name}", run_dir
        self._sizes: dict[str, int] = {}  # of the records, as they were put up last

    @property
    def _folder(self) -> Path:
        return self.run_dir / CHECKPOINTS

    def _stored(self) -> dict[str, list[str]]:
        """The keys of each checkpoint in the store, whole or not, by its name."""
        steps: dict[str, list[str]] = {}
        for key in self.store.list(f"{self.below}/{CHECKPOINTS}"):
            steps.setdefault(key.split("/")[-2], []).append(key)
        return steps

    def fetch(self) -> str | None:
        """The newest checkpoint of the store, if it is ahead of the folder, and the records until then. Returns its name."""
        whole = {name: keys for name, keys in self._stored().items() if any(key.endswith(WHOLE) for key in keys)}
        own = max((path.name for path in self._folder.glob("step-*")), default="")
        if not whole or (newest := max(whole)) <= own:
            return None
        partial = self._folder / f".{newest}.{os.getpid()}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        for key in whole[newest]:
            write_atomically(partial / Path(key).name, self.store.fetch(key))
        os.replace(partial, self._folder / newest)
        self.fetch_file(METRICS)
        return newest

    def fetch_file(self, name: str) -> bool:
        """A record or a result into the folder; False where the store has none."""
        key = f"{self.below}/{name}"
        if not self.store.exists(key):
            return False
        write_atomically(self.run_dir / name, self.store.fetch(key))
        return True

    def push(self) -> None:
        """Put up what is new in the folder, and remove the checkpoints that it has no longer."""
        own = {path.name: path for path in self._folder.glob("step-*")}
        stored = self._stored()
        for name, keys in stored.items():
            if own and name not in own:
                self._delete(keys)
        for name, path in sorted(own.items()):
            if not any(key.endswith(WHOLE) for key in stored.get(name, [])):
                self._put_checkpoint(path)
        for record in (METRICS, PIPES):
            path = self.run_dir / record
            if path.is_file() and (size := path.stat().st_size) != self._sizes.get(record):
                self.store.put(f"{self.below}/{record}", path)
                self._sizes[record] = size

    def _put_checkpoint(self, path: Path) -> None:
        try:
            for file in sorted(path.iterdir(), key=lambda file: file.name == WHOLE):
                self.store.put(f"{self.below}/{CHECKPOINTS}/{path.name}/{file.name}", file)
        except FileNotFoundError:
            pass  # the run has a newer one, and took this one away meanwhile

    def _delete(self, keys: Sequence[str]) -> None:
        for key in sorted(keys, key=lambda key: not key.endswith(WHOLE)):
            self.store.delete(key)

    def pull(self) -> None:
        """What other machines added to the records, at the end of the folder's own: who reads these has them open."""
        for record in (METRICS, PIPES):
            key, path = f"{self.below}/{record}", self.run_dir / record
            if self.store.exists(key):
                data, own = self.store.get(key), path.read_bytes() if path.is_file() else b""
                with path.open("ab" if data.startswith(own) else "wb") as file:
                    file.write(data[len(own) :] if data.startswith(own) else data)

    def following(self) -> AbstractContextManager[None]:
        """Push every few seconds inside the block, and once more at its end. Raises what that last time raises."""
        return _repeatedly(self.push)

    def followed(self) -> AbstractContextManager[None]:
        """Pull likewise, for a run that other machines push."""
        return _repeatedly(self.pull)

    def put_results(self, task: Task) -> None:
        """The run's result, and its weights where it left any; the result last."""
        for name in (f"{task}.safetensors", f"{task}.json", RESULT):
            if (path := self.run_dir / name).is_file():
                self.store.put(f"{self.below}/{name}", path)

    def fetch_results(self, task: Task) -> None:
        """What another machine put up, into this one's folder; nothing where it did not end."""
        if self.store.exists(f"{self.below}/{RESULT}"):
            for name in (f"{task}.safetensors", f"{task}.json", RESULT):
                self.fetch_file(name)

    def forget_result(self) -> None:
        """An earlier attempt's must not pass for the next one's."""
        for name in (RESULT, PIPES):
            self.store.delete(f"{self.below}/{name}")

    def clear(self) -> None:
        """Remove all of it: the run is published, or consent ended it."""
        keys = list(self.store.list(self.below))
        self._delete(keys)


@contextmanager
def _repeatedly(act: Callable[[], None]) -> Iterator[None]:
    over = threading.Event()

    def follow() -> None:
        while not over.wait(EVERY_S):
            try:
                act()
            except Exception as error:  # whatever a store throws: it is tried again
                print(f"the store is behind: {type(error).__name__}: {error}", flush=True)

    thread = threading.Thread(target=follow, name="mirror", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        act()
