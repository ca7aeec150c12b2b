"""What a training run will be: presets, overrides, and the keys that follow from them.

A model's key is a digest of its snapshot, of both tasks' choices and of the training code, so "was this trained already?" has
one answer. `warm` decides what a run starts from, `launch` starts it.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import training
from assets.coverage.classes import POLICY as CLASSES
from assets.coverage.sampling_weights import POLICY as WEIGHTS
from assets.dataset.sampling_weights import current as repetition_of
from assets.home import Home
from training import base
from training.config import RECIPE, TrainConfig
from training.consent.canonical import canonical, sha256_hex

Task = Literal["codec", "transformer"]
TASKS: tuple[Task, ...] = ("codec", "transformer")

_PLACES = {
    *("task", "run_dir", "manifest", "snapshot_root", "database_url", "frames_dir", "latents_dir", "codec_dir"),
    *("text_dir", "text_encoder", "parent_dir", "ancestors", "other_snapshot", "resume", "compile", "strategy"),
    *("repetition", "repetition_sha256", "numbers", "left_out"),
}
ENTRIES = ("fit", "encode", "sample")  # the modules of `training` whose processes make weights, latents and samples
PARENT = "parent_model"  # the setting that says what to start from, and the field of a published record
CHOICES = tuple(choice.name for choice in fields(TrainConfig) if choice.name not in _PLACES)
BEST, FROM_BASE, NOTHING = "best", "base", "none"  # values of PARENT that are no model's key
PRESETS: Mapping[str, Mapping[Task, Mapping[str, Any]]] = {
    # two cores, a few minutes: what the base knows, and what the night's clips add to it
    "demo": {
        "codec": RECIPE["codec"]
        | {"steps": 60, "eval_every": 10, "checkpoint_every": 20, "lr": 5e-4, "batch_tokens": 480, "patience": 3}
        | {"rendered_share": 0.25, "rendered_clips": 500},
        "transformer": RECIPE["transformer"]
        | {"steps": 200, "eval_every": 25, "checkpoint_every": 100, "lr": 6e-4, "batch_tokens": 480, "patience": 4}
        | {"rendered_share": 0.7, "rendered_clips": 4096, "ema_decay": 0.995},
    },
}


class ConfigError(ValueError):
    """Training settings that name an unknown preset, choice or start."""


@dataclass(frozen=True)
class Plan:
    """Everything that decides what a pair of autoencoder and transformer will be."""

    snapshot_root: str
    codec: Mapping[str, Any]
    transformer: Mapping[str, Any]
    code_version: str
    repetition_sha256: str = ""  # of the sealed weights of its clips; empty: all are seen the same
    parent_model: str | None = None  # key of the model or base that training starts from; None: from nothing
    codec_key: str = field(init=False)
    model_key: str = field(init=False)

    def __post_init__(self) -> None:
        codec: dict[str, Any] = {"root": self.snapshot_root, "code": self.code_version, "parent": self.parent_model}
        codec |= {"codec": dict(self.codec), "repetition": self.repetition_sha256}
        object.__setattr__(self, "codec_key", sha256_hex(canonical(codec))[:24])
        pair = codec | {"transformer": dict(self.transformer)}
        object.__setattr__(self, "model_key", sha256_hex(canonical(pair))[:24])

    def choices(self, task: Task) -> Mapping[str, Any]:
        return self.codec if task == "codec" else self.transformer

    @property
    def base_model(self) -> str | None:
        """Key of the base that these choices can start from; None if there is none of this size and shape."""
        return base_model(self.codec, self.transformer)

    def run_name(self, task: Task) -> str:
        """Name of the task's working folder: the same choices find the same checkpoints again."""
        return f"codec-{self.codec_key}" if task == "codec" else f"transformer-{self.model_key}"


def choices(settings: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """The preset with the settings laid over it: top-level choices hold for both tasks, a task's own override them.

    `settings` is `Home.training`, for instance `{"preset": "demo", "seed": 1, "codec": {"steps": 500}}`. Its
    `parent_model` is not a choice of a task: "best" (the default: the best clean version, else the base; "champion" means
    the same), "base", "none", or the key of a published model. Raises ConfigError for unknown presets and choices.
    """
    name = settings.get("preset", "demo")
    if name not in PRESETS:
        raise ConfigError(f"no training preset {name!r}; there are {sorted(PRESETS)}")
    common = {key: value for key, value in settings.items() if key not in ("preset", PARENT, *TASKS)}
    own = settings.get(task, {})
    if unknown := (set(common) | set(own)) - set(CHOICES):
        raise ConfigError(f"no training choice {sorted(unknown)}; there are {list(CHOICES)}")
    return {**PRESETS[name][task], **common, **own}


def cold_plan(home: Home, snapshot_root: str) -> Plan:
    """The plan for a snapshot under this home's training settings and the code at hand, without a parent."""
    codec, transformer = (choices(home.training, task) for task in TASKS)
    weights = repetition_of(home, snapshot_root)
    return Plan(snapshot_root, codec, transformer, code_version(), weights[1] if weights else "")


def parent_setting(settings: Mapping[str, Any]) -> str:
    """What the settings say to start from: "best", "base", "none", or a model's key."""
    setting = settings.get(PARENT) or BEST
    return BEST if setting == "champion" else setting


def shaping(choices: Mapping[str, Any]) -> dict[str, Any]:
    """The choices that decide which weights fit."""
    shapes = {name: dict(choices.get(name) or {}) for name in ("codec_shape", "transformer_shape")}
    return {"size": choices.get("size", TrainConfig.size), **shapes}


def base_model(codec: Mapping[str, Any], transformer: Mapping[str, Any]) -> str | None:
    """Key of the base that a pair with these choices can start from, None if there is none."""
    size = shaping(codec)["size"]
    plain = {"size": size, "codec_shape": {}, "transformer_shape": {}}
    return base.key(size) if shaping(codec) == shaping(transformer) == plain else None


def code_digest(settings: Mapping[str, Any]) -> str:
    """Digest of everything but the data that decides what a model will be."""
    made_of: dict[str, Any] = {"code": code_version(), PARENT: parent_setting(settings)}
    made_of |= {"classes": CLASSES.version, "weights": WEIGHTS.plain()}  # how often each clip will be seen
    made_of |= {"base": base_model(*(choices(settings, task) for task in TASKS))}
    return sha256_hex(canonical(made_of | {task: choices(settings, task) for task in TASKS}))


def code_version() -> str:
    """Digest over the sources under `training/` that decide a model's weights and its samples, in sub-folders too."""
    return source_digest(Path(training.__file__).parent, ENTRIES)


@functools.cache
def source_digest(folder: Path, entries: Sequence[str]) -> str:
    """Digest over paths and contents of what `sources` finds."""
    digest = hashlib.sha256()
    for source in sources(folder, entries):
        digest.update(f"{source.relative_to(folder).as_posix()}\n".encode() + source.read_bytes())
    return digest.hexdigest()[:16]


def sources(folder: Path, entries: Sequence[str]) -> list[Path]:
    """The modules of the package at `folder` that these entry modules import, directly or not, sorted by path.

    From `ENTRIES`, this leaves out what decides no weights: the trials of `evaluate/`, and in `consent/` what only
    proves. A measure that training itself uses, for instance to choose the best checkpoint, is imported, so it counts.
    """
    imported: set[Path] = set()
    waiting = [folder / f"{name}.py" for name in entries]
    while waiting:
        source = waiting.pop()
        if source not in imported:
            imported.add(source)
            waiting += _imports(source, folder)
    return sorted(imported)


def _imports(source: Path, folder: Path) -> Iterator[Path]:
    """The files of the package that importing `source` runs, including the `__init__.py` of every folder on the way."""
    names = {folder.name}
    for node in ast.walk(ast.parse(source.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    for name in names:
        parts = name.split(".")
        if parts[0] != folder.name:
            continue
        for length in range(1, len(parts) + 1):
            path = folder.joinpath(*parts[1:length])
            yield from (file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file())
