"""The model that the later stages are about: the pair that was trained last, with its snapshot and its records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assets.consent.sealed_members import manifest_key
from assets.dataset.sealed import Sealed
from assets.evaluation.headline import measured
from assets.evaluation.scorecards import shown
from assets.home import Home
from assets.model import published
from assets.registry.versions import Registry
from training.consent.canonical import parse_strictly


class NoModel(LookupError):
    """Nothing was trained yet, or what was trained is not registered."""


@dataclass(frozen=True)
class CurrentModel:
    """`record` is the published record of the pair; `sealed` the snapshot that it was trained on."""

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
        return {
            "model_id": self.model_key,
            "snapshot_root": self.sealed.root,
            "ledger_checkpoint": self.ledger_checkpoint,
        }

    def folder(self, home: Home) -> Path:
        """A local folder with the weights."""
        return published.local_folder(home, self.model_key)

    def samples(self, home: Home) -> list[dict[str, Any]]:
        """Its rows of the table `samples`."""
        return [row for row in home.lake.rows("samples") if row["model_key"] == self.model_key]

    def scores(self, home: Home) -> list[dict[str, Any]]:
        """Its rows of the table `scorecard`."""
        return [row for row in home.lake.rows("scorecard") if row["model_key"] == self.model_key]

    def shown_scores(self, home: Home) -> list[dict[str, str]]:
        """What was measured, as people read it."""
        return shown(measured(self.scores(home)))

    def registered(self, registry: Registry) -> str:
        """The number of its registered version. Raises NoModel."""
        number = registry.version_for(self.model_key)
        if number is None:
            raise NoModel(f"model {self.model_key} is not registered: materialise registered_model first")
        return number


def current_model(home: Home) -> CurrentModel:
    """Raises NoModel before the first training."""
    model_key = published.latest(home)
    record = published.pair(home, model_key) if model_key else None
    if model_key is None or record is None:
        raise NoModel("no model was trained yet: materialise video_transformer first")
    root = record["snapshot_root"]
    path = home.store.fetch(manifest_key(root))
    return CurrentModel(model_key, record, Sealed(root, parse_strictly(path.read_text("utf-8")), path))
