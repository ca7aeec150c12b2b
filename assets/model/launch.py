"""Starting training processes: the configuration file, the command and its surroundings.

Everything up to the moment of launch is plain data. Dagster's Pipes client runs the command; a person or a test
may run the same one by hand, and `torchrun` takes it too. `alone` makes each launch of a home end before the next begins.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import training
from assets.dataset import renditions
from assets.dataset.sampling_weights import current as repetition_of
from assets.dataset.sealed import Sealed, ancestors, local_view
from assets.home import Home
from assets.model import latents, published
from assets.model.config import Plan, Task, spread
from assets.serving import bases
from assets.store import write_atomically
from training.process import LIFELINE, PRESENCE

PATIENCE_S = 600.0  # for the training before; then the run fails, is retried, and an alert goes out
ROOT = Path(training.__file__).resolve().parents[1]  # the folder that holds the `training` package


@dataclass(frozen=True)
class Launch:
    """A command ready to run. `run_dir` survives a kill: the same launch resumes from its last checkpoint."""

    command: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    run_dir: Path


class Busy(RuntimeError):
    """Another training of this home has not ended. The message names the process."""


@contextlib.contextmanager
def alone(home: Home, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Be the only training of this home, from preparing its folder to reading its result.

    What is launched inside ends when this process does, and no other training begins before it has ended. A killed process
    holds no lock. Raises Busy after `patience_s` seconds.
    """
    folder = home.scratch("training")
    holder, present = folder / "launcher.lock", folder / "processes.lock"
    with holder.open("a+") as held:
        _wait(held, "another run trains in this home", patience_s)
        with present.open("a") as left:
            _wait(left, "what an earlier run launched has not ended", patience_s)
        for forgotten in folder.glob("lifeline-*"):
            forgotten.unlink()  # of launchers that were killed
        held.truncate(0)
        held.write(str(os.getpid()))
        held.flush()
        with tempfile.NamedTemporaryFile(dir=folder, prefix="lifeline-") as lifeline:
            fcntl.flock(lifeline, fcntl.LOCK_EX)
            named = {LIFELINE: lifeline.name, PRESENCE: str(present)}
            before = {name: os.environ.get(name) for name in named}
            os.environ.update(named)
            try:
                yield
            finally:
                for name, value in before.items():
                    os.environ.pop(name) if value is None else os.environ.update({name: value})


def _wait(file: IO[str], what: str, patience_s: float) -> None:
    """Lock the file for this process alone."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                pid = Path(file.name).read_text()
                raise Busy(f"{what}{f', process {pid}' if pid else ''}: one at a time; see {file.name}") from None
        time.sleep(0.2)


def prepare(home: Home, module: str, run_dir: Path, config: Mapping[str, Any]) -> Launch:
    """Write `run_dir/config.json`; returns how to run `python -m <module>` on it.

    The file may hold the database's password, so only its owner may read it.
    """
    path = run_dir / "config.json"
    run_dir.chmod(0o700)
    (run_dir / "result.json").unlink(missing_ok=True)  # an earlier attempt's must not pass for this one's
    write_atomically(path, json.dumps(dict(config), indent=1, sort_keys=True).encode())
    path.chmod(0o600)
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {"PYTHONPATH": os.pathsep.join(paths), "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    return Launch([sys.executable, "-m", module, "--config", str(path)], env, ROOT, run_dir)


def prepare_fit(home: Home, plan: Plan, sealed: Sealed, task: Task) -> Launch:
    """The launch that trains one task of a plan on a sealed snapshot, in the plan's own working folder.

    Raises ConfigError if the plan starts from a model that was never published.
    """
    run_dir = home.scratch(f"runs/{plan.run_name(task)}")
    if plan.pretrained:
        bases.keep(home, Path(plan.codec["base"]), plan.pretrained["sha256"])
    config: dict[str, Any] = {
        "task": task,
        "run_dir": str(run_dir),
        "manifest": str(sealed.path),
        "snapshot_root": sealed.root,
        "database_url": home.database_url,
        "frames_dir": str(local_view(home, renditions.keys(home, sealed.clip_ids))),
        "text_encoder": str(home.text_encoder),
        "networks": str(home.networks),
        "resume": True,
        **plan.choices(task),
        **_spread(home, task),
    }
    if weights := repetition_of(home, sealed.root):
        config |= {"repetition": str(weights[0]), "repetition_sha256": weights[1]}
    earlier: list[Path] = []  # weights that this run rests on
    if plan.parent_model:
        parent_dir = published.parent_folder(home, plan.parent_model, task)
        earlier.append(parent_dir / f"{task}.safetensors")
        config["parent_dir"] = str(parent_dir)
    if task == "transformer":
        codec_dir = published.local_folder(home, plan.model_key, ("codec",))
        left_out = latents.absent(home, codec_dir, sealed.clip_ids)
        encoded = [clip_id for clip_id in sealed.clip_ids if clip_id not in left_out]
        config |= {
            "codec_dir": str(codec_dir),
            "latents_dir": str(local_view(home, latents.keys(home, codec_dir, encoded))),
            "left_out": left_out,
            "text_dir": str(latents.text_folder(home, codec_dir)),
            "text_encoder": str(latents.text_encoder(home, codec_dir)),
            "numbers": str(write_numbers(home, sealed, run_dir)),
        }
        earlier.append(codec_dir / "codec.safetensors")
    config["ancestors"] = ancestors(home, *earlier)
    return prepare(home, "training.fit", run_dir, config)


def _spread(home: Home, task: Task) -> dict[str, Any]:
    """What TrainConfig has of how the run is spread over processes. A codec is small, and whole in each."""
    chosen = spread(home.training, task)
    if task == "codec":
        chosen.pop("strategy", None)
    return {name: chosen[name] for name in ("strategy", "compile") if name in chosen}


# the transformer's numeric conditions by the columns that measure them; latents carry frame rate and motion themselves
MEASURED = {
    "pan": "camera_pan_diag_per_s",
    "tilt": "camera_tilt_diag_per_s",
    "zoom": "camera_zoom_diag_per_s",
    "quality": "technical_quality",
}


def write_numbers(home: Home, sealed: Sealed, run_dir: Path) -> Path:
    """`numbers.json` in the run's folder: what curation measured on the snapshot's members."""
    members = set(sealed.clip_ids)
    rows = home.lake.read("signals", columns=["clip_id", *MEASURED.values()]).to_pylist()
    measured = {
        row["clip_id"]: {name: row[column] for name, column in MEASURED.items() if row[column] is not None}
        for row in rows
        if row["clip_id"] in members
    }
    path = run_dir / "numbers.json"
    write_atomically(path, json.dumps(measured, indent=1, sort_keys=True).encode())
    return path
