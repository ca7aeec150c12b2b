"""What a training run will be: presets, overrides, and the keys that follow from them.

A model's key is a digest of its snapshot, of both tasks' choices and of the training code, so "was this trained already?" has
one answer. `warm` decides what a run starts from, `launch` starts it.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import training
from assets.coverage.classes import POLICY as CLASSES
from assets.coverage.sampling_weights import POLICY as WEIGHTS
from assets.dataset.sampling_weights import current as repetition_of
from assets.home import Home
from assets.model.presets import ALIASES, DEFAULT, FINETUNE, MINUTES, PRESETS
from training import base
from training.config import TrainConfig
from training.consent.canonical import canonical, sha256_hex
from training.model.base_folder import FACTS, UNCOVERED, read_base

Task = Literal["codec", "transformer"]
TASKS: tuple[Task, ...] = ("codec", "transformer")

_PLACES = {
    *("task", "run_dir", "manifest", "snapshot_root", "database_url", "frames_dir", "latents_dir", "codec_dir"),
    *("text_dir", "text_encoder", "parent_dir", "ancestors", "other_snapshot", "resume", "compile", "strategy"),
    *("repetition", "repetition_sha256", "numbers", "left_out", "device", "networks", "base_sha256", "time_mean"),
}
ENTRIES = ("fit", "encode", "sample")  # the modules of `training` whose processes make weights, latents and samples
PARENT = "parent_model"  # the setting that says what to start from, and the field of a published record
CHOICES = tuple(choice.name for choice in fields(TrainConfig) if choice.name not in _PLACES)
BEST, FROM_BASE, NOTHING = "best", "base", "none"  # values of PARENT that are no model's key
# How a task's run is spread over processes. The steps see the same clips in the same order with the same noise, and sums are
# rounded differently, as they are on another processor: so these are no part of a model's key.
SPREAD = ("strategy", "compile", "nodes", "processes")


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
        codec |= {"codec": _identity(self.codec), "repetition": self.repetition_sha256}
        object.__setattr__(self, "codec_key", sha256_hex(canonical(codec))[:24])
        pair = codec | {"transformer": _identity(self.transformer)}
        object.__setattr__(self, "model_key", sha256_hex(canonical(pair))[:24])

    def choices(self, task: Task) -> Mapping[str, Any]:
        return self.codec if task == "codec" else self.transformer

    @property
    def base_model(self) -> str | None:
        """Key of the base that these choices can start from; None if there is none of this size and shape."""
        return base_model(self.codec, self.transformer)

    @property
    def pretrained(self) -> dict[str, str]:
        """What is said of the pretrained base that is tuned; empty where none is."""
        return pretrained(self.transformer)

    def run_name(self, task: Task) -> str:
        """Name of the task's working folder: the same choices find the same checkpoints again."""
        return f"codec-{self.codec_key}" if task == "codec" else f"transformer-{self.model_key}"


def choices(settings: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """The preset with the settings laid over it: top-level choices hold for both tasks, a task's own override them.

    `settings` is `Home.training`, for instance `{"preset": "nano", "seed": 1, "codec": {"steps": 500}}`. Its
    `parent_model` is not a choice of a task: "best" (the default: the best clean version, else the base; "champion" means
    the same), "base", "none", or the key of a published model. `minutes` for both are shared out, and take the place of the
    preset's steps. With `base`, the folder of a pretrained one, its budget is FINETUNE's. Raises ConfigError for unknown
    presets and choices, and for a folder that is no base.
    """
    preset = FINETUNE[task] if settings.get("base") else PRESETS[preset_of(settings)][task]
    common = {key: value for key, value in settings.items() if key not in ("preset", PARENT, *TASKS, *SPREAD)}
    own = {key: value for key, value in settings.get(task, {}).items() if key not in SPREAD}
    if unknown := (set(common) | set(own)) - set(CHOICES):
        raise ConfigError(f"no training choice {sorted(unknown)}; there are {[*CHOICES, *SPREAD]}")
    if "base" in own:
        raise ConfigError(f"{task}: a pretrained base has an autoencoder and a transformer; set base for both tasks")
    if common.get("minutes"):
        common["minutes"] *= MINUTES[task]
    chosen = {**common, **own}
    return {**preset, **({"steps": 0} if chosen.get("minutes") else {}), **chosen, **_pretrained(chosen)}


def _pretrained(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of the chosen base, if any: where it is, its digest and its licence. Raises ConfigError."""
    if not chosen.get("base"):
        return {}
    try:
        base = read_base(chosen["base"], chosen.get("base_licence", ""))
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return {"base": str(base.path), "base_sha256": base.sha256, "base_licence": base.licence}


def _identity(choices: Mapping[str, Any]) -> dict[str, Any]:
    """The choices as they decide a model: a base counts by its digest, wherever it lies."""
    return {name: value for name, value in choices.items() if name != "base"}


def preset_of(settings: Mapping[str, Any]) -> str:
    """The preset that the settings name, by its present name. Raises ConfigError."""
    name = settings.get("preset", DEFAULT)
    if (name := ALIASES.get(name, name)) not in PRESETS:
        raise ConfigError(f"no training preset {name!r}; there are {list(PRESETS)}")
    return name


def every_choice(choices: Mapping[str, Any]) -> dict[str, Any]:
    """The choices of a task with the defaults of those that nobody made: all that decides what its run does."""
    defaults = {choice.name: choice.default for choice in fields(TrainConfig) if choice.name in CHOICES}
    return {name: {} if value is MISSING else value for name, value in defaults.items()} | dict(choices)


def spread(settings: Mapping[str, Any], task: Task) -> dict[str, Any]:
    """How the settings spread a task's run over processes: what of SPREAD they name."""
    own = {**settings, **settings.get(task, {})}
    return {name: own[name] for name in SPREAD if name in own}


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
    tuned = {name: choices.get(name, getattr(TrainConfig, name)) for name in ("base_sha256", "tuning")}
    return {"size": choices.get("size", TrainConfig.size), **shapes, **tuned, "lora": dict(choices.get("lora") or {})}


def base_model(codec: Mapping[str, Any], transformer: Mapping[str, Any]) -> str | None:
    """Key of the base that a pair with these choices can start from, None if there is none."""
    size = shaping(codec)["size"]
    plain = shaping({"size": size})
    return base.key(size) if shaping(codec) == shaping(transformer) == plain else None


def pretrained(choices: Mapping[str, Any]) -> dict[str, str]:
    """What every document says of the pretrained base that these choices tune; empty where they tune none."""
    if not choices.get("base_sha256"):
        return {}
    facts = (Path(choices["base"]).name, choices["base_sha256"], choices["base_licence"])
    return dict(zip(FACTS, facts, strict=True)) | {"training_data": UNCOVERED}


def code_digest(settings: Mapping[str, Any]) -> str:
    """Digest of everything but the data that decides what a model will be."""
    made_of: dict[str, Any] = {"code": code_version(), PARENT: parent_setting(settings)}
    made_of |= {"classes": CLASSES.version, "weights": WEIGHTS.plain()}  # how often each clip will be seen
    made_of |= {"base": base_model(*(choices(settings, task) for task in TASKS))}
    return sha256_hex(canonical(made_of | {task: _identity(choices(settings, task)) for task in TASKS}))


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
