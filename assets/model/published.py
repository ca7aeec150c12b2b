"""Published models: `models/<model_key>/` in the store, whole or not there.

A finished task's files are put up and taken down to a local folder here, and the latest model is named. A task is published
once its result file is there (`codec.result.json`, `transformer.result.json`), which is written last. `result.json` describes
the finished pair, and `models/latest.json` names it; `CurrentModel` is that pair as the later stages use it. A model's
scorecards lie beside it, so that two models can be compared on the same held-out clips later.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from assets.consent.sealed_members import manifest_key
from assets.dataset.sealed import Sealed, local_view
from assets.home import Home
from assets.model.config import PARENT, TASKS, ConfigError, Plan, Task, pretrained
from assets.model.outcome import Outcome
from assets.registry import Registry, Version
from training import base
from training.consent.canonical import file_sha256, parse_strictly
from training.model.config import LADDER
from training.model.exposure import fields, joined

LATEST = "models/latest.json"
BASE_KEY = "base-"  # how the key of a base begins; a base ships with the code and is in no store


class NoModel(LookupError):
    """Nothing was trained yet, or what was trained is not registered."""


@dataclass(frozen=True)
class CurrentModel:
    """A trained pair, by default the last: its published record, and the snapshot that it was trained on."""

    model_key: str
    record: Mapping[str, Any]
    sealed: Sealed

    @property
    def run_id(self) -> str:
        """The MLflow run that trained it."""
        return self.record["transformer"]["mlflow_run_id"]

    @property
    def ledger_checkpoint(self) -> str:
        ledger = self.sealed.manifest["ledger"]
        return f"{ledger['size']}:{ledger['root']}"

    @property
    def claims(self) -> dict[str, Any]:
        """What every video of this model says of its origin."""
        claims = {
            "model_id": self.model_key,
            "snapshot_root": self.sealed.root,
            "ledger_checkpoint": self.ledger_checkpoint,
        }
        return claims | ({"base": self.pretrained} if self.pretrained else {})

    @property
    def pretrained(self) -> dict[str, str]:
        """What is said of the pretrained base that it was tuned from; empty where there is none."""
        return pretrained_base(self.record)

    def folder(self, home: Home) -> Path:
        """A local folder with the weights."""
        return local_folder(home, self.model_key)

    def samples(self, home: Home) -> list[dict[str, Any]]:
        """Its rows of the table `samples`."""
        return [row for row in home.lake.rows("samples") if row["model_key"] == self.model_key]

    def scores(self, home: Home) -> list[dict[str, Any]]:
        """Its rows of the table `scorecard`."""
        return [row for row in home.lake.rows("scorecard") if row["model_key"] == self.model_key]

    def registered(self, registry: Registry) -> str:
        """The number of its registered version. Raises NoModel."""
        number = registry.version_for(self.model_key)
        if number is None:
            raise NoModel(f"model {self.model_key} is not registered: materialise registered_model first")
        return number


def current_model(home: Home) -> CurrentModel:
    """The pair that was trained last. Raises NoModel before the first training."""
    model_key = latest(home)
    if model_key is None:
        raise NoModel("no model was trained yet: materialise video_transformer first")
    return model_of(home, model_key)


def model_of(home: Home, model_key: str) -> CurrentModel:
    """The pair with this key. Raises NoModel if it was not published."""
    record = pair(home, model_key)
    if record is None:
        raise NoModel(f"no model {model_key} was published: materialise video_transformer first")
    root = record["snapshot_root"]
    path = home.store.fetch(manifest_key(root))
    return CurrentModel(model_key, record, Sealed(root, parse_strictly(path.read_text("utf-8")), path))


def pretrained_base(record: Mapping[str, Any]) -> dict[str, str]:
    """As `CurrentModel.pretrained`, of a pair's record."""
    return pretrained(record.get("transformer", {}).get("choices", {}))


def folder(model_key: str) -> str:
    return f"models/{model_key}"


def result(home: Home, model_key: str, task: Task) -> dict[str, Any] | None:
    """The published result of a task, or None if it was not published."""
    return _json(home, f"{folder(model_key)}/{task}.result.json")


def pair(home: Home, model_key: str) -> dict[str, Any] | None:
    """The record of a finished pair: key, root, parent, origin, exposure, code version, both results."""
    return _json(home, f"{folder(model_key)}/result.json")


def latest(home: Home) -> str | None:
    """Key of the pair that was trained last (or reused last), or None before the first."""
    record = _json(home, LATEST)
    return record["model_key"] if record else None


def origin(home: Home, model_key: str) -> str:
    """The root of a model's ancestry, as far as records tell: a base, or the model that was trained from nothing.

    Models of one origin share a latent space, because only the origin's codec learned how to encode.
    """
    if recorded := (pair(home, model_key) or {}).get("origin"):
        return recorded
    met = {model_key}
    while (parent := (pair(home, model_key) or {}).get("parent_model")) and parent not in met:
        model_key = parent
        met.add(parent)
    return model_key


def exposure_of(home: Home, version: Version) -> list[str]:
    """Roots of every snapshot that the version's weights ever saw, its own first, unknown ones as an empty text."""
    record = (pair(home, version.model_key) if version.model_key else None) or {}
    others = {*(record.get("exposure") or ()), *tagged_exposure(version)} - {version.snapshot_root}
    return [version.snapshot_root, *sorted(others)]


def tagged_exposure(version: Version) -> tuple[str, ...]:
    """The snapshot roots that a version's tag `exposure` lists."""
    return tuple(version.tags.get("exposure", "").replace(",", " ").split())


def seen(record: Mapping[str, Any]) -> dict[str, str]:
    """What a task's published weights ever saw: snapshot roots, each with the time of its first use."""
    return dict(record["result"]["exposed_since"])


def unchanged(record: Mapping[str, Any]) -> bool:
    """Whether a pair's weights are the very ones that it started from: neither of its runs found better ones."""
    return all(Outcome(task, record.get(task, {}).get("result", {})).unchanged for task in TASKS)


def publish_task(
    home: Home, plan: Plan, task: Task, run_dir: Path, outcome: Outcome, mlflow_run_id: str
) -> dict[str, Any]:
    """Put up the weights and their description, then the record that makes them valid. Returns the record."""
    weights = run_dir / f"{task}.safetensors"
    record = {
        "choices": dict(plan.choices(task)),
        "result": dict(outcome.result),
        "metrics": list(outcome.records),
        "mlflow_run_id": mlflow_run_id,
        "parameters": parameters(weights),
        "weights_sha256": file_sha256(weights),
    }
    for name in (f"{task}.safetensors", f"{task}.json"):
        home.store.put(f"{folder(plan.model_key)}/{name}", run_dir / name)
    home.store.put(f"{folder(plan.model_key)}/{task}.result.json", _bytes(record))
    return record


def publish_pair(home: Home, plan: Plan) -> None:
    """Describe the finished pair, with all that its weights ever saw, and make it the latest. Both tasks must be there."""
    tasks: dict[str, dict[str, Any]] = {}
    for task in TASKS:
        record = result(home, plan.model_key, task)
        if record is None:
            raise FileNotFoundError(f"model {plan.model_key} has no {task}")
        tasks[task] = {name: value for name, value in record.items() if name != "metrics"}
    description = {
        "model_key": plan.model_key,
        "snapshot_root": plan.snapshot_root,
        "code_version": plan.code_version,
        "parent_model": plan.parent_model,
        "origin": origin(home, plan.parent_model) if plan.parent_model else plan.model_key,
        **fields(joined(*(seen(record) for record in tasks.values()))),
        **tasks,
    }
    home.store.put(f"{folder(plan.model_key)}/result.json", _bytes(description))
    home.store.put(LATEST, _bytes({"model_key": plan.model_key}))


def parameters(weights: Path) -> int:
    """How many numbers a safetensors file holds."""
    from safetensors import safe_open

    with safe_open(weights, framework="numpy") as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118


def _json(home: Home, key: str) -> dict[str, Any] | None:
    return json.loads(home.store.get(key)) if home.store.exists(key) else None


def _bytes(record: Mapping[str, Any]) -> bytes:
    return json.dumps(dict(record), indent=1, sort_keys=True).encode()


def local_folder(home: Home, model_key: str, tasks: Sequence[Task] = TASKS) -> Path:
    """A local folder with the published weights and descriptions of the tasks. Raises FileNotFoundError."""
    names = [name for task in tasks for name in (f"{task}.safetensors", f"{task}.json")]
    return local_view(home, [f"{folder(model_key)}/{name}" for name in names])


def base_folder(model_key: str) -> Path | None:
    """The folder of the repository's base with this key; None if the key is no base's, or that of another base."""
    if not model_key.startswith(BASE_KEY):
        return None
    return next((base.folder(size) for size in LADDER if base.key(size) == model_key), None)


def parent_folder(home: Home, model_key: str, task: Task) -> Path:
    """A local folder of the finished model or base to start from: a task's weights, and what the pair saw.

    Raises ConfigError if there is no such model.
    """
    if (local := base_folder(model_key)) is not None:
        return local
    if model_key.startswith(BASE_KEY):
        raise ConfigError(f"{PARENT}: {model_key} is not a base of this version of the code; name another start")
    if pair(home, model_key) is None:
        raise ConfigError(f"{PARENT}: no model {model_key!r} was published")
    names = (f"{task}.safetensors", f"{task}.json", "result.json")
    return local_view(home, [f"{folder(model_key)}/{name}" for name in names])


PRIMARY, COPIES = "heldout_flow_loss", "memorised_clips"  # metrics: what models compare by, and what none may have
OVERALL, BASE = "all", "reference=base"  # slices of a metric: this model on all items, and the base on the same ones
APART = "another latent space"  # how `training.evaluate` begins to say that a base's loss does not compare


@dataclass(frozen=True)
class Scorecard:
    """`rows` are those of the table `scorecard`; `heldout` names the clips they were measured on.

    `values` are the numbers behind them: by metric, or "metric@slice", the value of each clip, trial or scene. A scorecard
    stored before there were any has none.
    """

    model_key: str
    heldout: str
    rows: Sequence[Mapping[str, Any]]
    values: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def base_apart(self) -> str:
        """Why the base model's loss does not compare with this model's; empty if it does."""
        whys = (row["why"] for row in self.rows if (row["metric"], row["slice"]) == (PRIMARY, BASE))
        return next((why for why in whys if why and why.startswith(APART)), "")

    def value(self, metric: str, part: str = OVERALL) -> float | None:
        """The measured value of a metric on a slice; None if it was not measured."""
        row = self.row(metric, part)
        return row["value"] if row else None

    def row(self, metric: str, part: str = OVERALL) -> Mapping[str, Any] | None:
        """The row of a metric on a slice, if it was measured."""
        rows = (row for row in self.rows if (row["metric"], row["slice"]) == (metric, part))
        return next((row for row in rows if row["state"] == "measured" and row["value"] is not None), None)

    def comparable(self, other: Scorecard) -> bool:
        """Whether all that was measured item by item was measured on the same items, by the same methods."""
        ours, theirs = ({row["metric"]: row["method"] for row in card.rows} for card in (self, other))
        return all(
            other.values.get(metric, {}).keys() == items.keys() and theirs.get(metric) == ours.get(metric)
            for metric, items in self.values.items()
            if "@" not in metric
        )


def heldout_digest(sealed: Sealed) -> str:
    """Names the set of held-out clips: the same clips, the same digest."""
    held = sorted(member["clip_id"] for member in sealed.members if member["split"] == "heldout")
    return hashlib.sha256("\n".join(held).encode()).hexdigest()


def _key(model_key: str, heldout: str | None = None) -> str:
    return f"models/{model_key}/scorecard{f'-{heldout[:16]}' if heldout else ''}.json"


def store_scorecard(home: Home, card: Scorecard) -> None:
    """Store it under its held-out clips, and as the model's own if it is the first."""
    data = json.dumps(asdict(card), indent=1, sort_keys=True).encode()
    home.store.put(_key(card.model_key, card.heldout), data)
    own = stored_scorecard(home, card.model_key)
    if own is None or own.heldout == card.heldout:
        home.store.put(_key(card.model_key), data)


def stored_scorecard(home: Home, model_key: str, heldout: str | None = None) -> Scorecard | None:
    """The model's own scorecard, or the one on the named held-out clips; None if it was not measured."""
    key = _key(model_key, heldout)
    if not home.store.exists(key):
        return None
    return Scorecard(**json.loads(home.store.get(key)))


def stored_scorecards(home: Home, model_key: str) -> list[Scorecard]:
    """Every scorecard of a model, one for each set of held-out clips that it was measured on."""
    below = f"models/{model_key}"
    keys = [key for key in home.store.list(below) if key.startswith(f"{below}/scorecard-")]
    return [Scorecard(**json.loads(home.store.get(key))) for key in keys]
