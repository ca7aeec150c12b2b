"""Scorecards of models in the store, so that two models can be compared on the same held-out clips later.

Measuring is done by `training.evaluate` in its own process, judging by `assets.evaluation.gate`. What a run starts from
depends on scorecards too (`warm`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from assets.dataset.sealed import Sealed
from assets.home import Home

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
