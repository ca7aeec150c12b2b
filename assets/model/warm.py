"""Warm starts: from which published model a training run begins, and what that saved.

Belongs here: finding the clean champion, deciding once for each plan, and the comparison with training from nothing. A
plan that was decided keeps its parent, so that the stages of one run, a retry and a later night with nothing new all mean
the same model; only a parent that is no longer clean is decided anew. What the parent's weights saw goes with them:
`training.start` holds all of it to the ledger.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assets.home import Home
from assets.model import published
from assets.model.outcome import HELD_OUT, Outcome

if TYPE_CHECKING:
    from assets.model.config import Plan, Task

CHAMPION, NOTHING = "champion", "none"  # values of the setting `parent_model` that are no model's key
SHAPING = ("size", "codec_shape", "transformer_shape")  # choices that decide which weights fit


def _key(cold: Plan) -> str:
    return f"starts/{cold.model_key}.json"


def decided(home: Home, cold: Plan, setting: str) -> str | None:
    """The parent of a plan as far as it is decided; `cold` is the plan without one, `setting` its `parent_model`."""
    if setting != CHAMPION:
        return None if setting == NOTHING else setting
    if not home.store.exists(_key(cold)):
        return None
    return json.loads(home.store.get(_key(cold)))["parent_model"]


def decide(home: Home, cold: Plan, setting: str) -> str:
    """Decide what the plan starts from, unless it is decided and still clean; says what and why."""
    if setting != CHAMPION:
        return "as the settings say"
    if home.store.exists(_key(cold)):
        parent = decided(home, cold, setting)
        if parent is None:
            return "from nothing, as decided before"
        if not (unclean := _unclean(home, parent)):
            return f"from model {parent}, as decided before"
        why = f"model {parent} is not clean any more ({unclean})"
    else:
        why = "first time"
    parent, found = _champion(home, cold)
    home.store.put(_key(cold), json.dumps({"parent_model": parent, "why": found}, sort_keys=True).encode())
    return f"{'from nothing' if parent is None else f'from model {parent}'}: {found} ({why})"


def _champion(home: Home, cold: Plan) -> tuple[str | None, str]:
    """The clean champion's key and that it is, or None and why not."""
    from assets.evaluation.registry import CHAMPION as ALIAS
    from assets.evaluation.registry import Registry

    serving = next((v for v in Registry(home).versions() if ALIAS in v.aliases), None)
    if serving is None:
        return None, "no version is champion"
    if unclean := _unclean(home, serving.model_key):
        return None, f"the champion, version {serving.number}, is not clean: {unclean}"
    if unfit := _unfit(home, cold, serving.model_key):
        return None, f"the champion, version {serving.number}, has another shape: {unfit}"
    return serving.model_key, f"version {serving.number} is the champion and clean"


def _unclean(home: Home, model_key: str) -> str:
    """Why nothing may start from a model; empty where it may."""
    from assets.consent.withdrawals.models import exposure_of
    from assets.evaluation.promotion import standing_violations
    from assets.evaluation.registry import Registry

    version = next((v for v in Registry(home).versions() if v.model_key == model_key), None)
    if version is None or published.pair(home, model_key) is None:
        return "its version or its weights are gone"
    return version.taint or "; ".join(standing_violations(home, *exposure_of(home, version))[:3])


def _unfit(home: Home, cold: Plan, model_key: str) -> str:
    """Which choice keeps the model's weights from fitting this plan; empty where none does."""
    pair = published.pair(home, model_key) or {}
    for task in ("codec", "transformer"):
        before = pair[task]["choices"]
        for name in SHAPING:
            if before.get(name) != cold.choices(task).get(name):
                return f"{task}.{name} was {before.get(name)!r}"
    if pair["code_version"] != cold.code_version:
        return "it was trained by other code"
    return ""


@dataclass(frozen=True)
class Saving:
    """A task's warm run beside the run from nothing at the root of its ancestry; losses on each one's held-out clips."""

    parent: str
    origin: str  # key of the model that was trained from nothing
    measure: str
    began: float
    ended: float
    origin_ended: float
    steps: int
    origin_steps: int
    saved: int | None  # steps that the origin took to where this run began; None: it never got there

    @property
    def said(self) -> str:
        reached = f"took {self.saved} of its {self.origin_steps} steps to reach that"
        if self.saved is None:
            reached = f"did not reach that in {self.origin_steps} steps"
        return (
            f"began from model {self.parent} at {self.measure} {self.began:.4g}; from nothing, model {self.origin} "
            f"{reached}. Ended after {self.steps} steps at {self.ended:.4g}, that one at {self.origin_ended:.4g}"
        )

    @property
    def metrics(self) -> dict[str, float]:
        """What MLflow plots of it. Steps that the origin never reached count as all of its steps, which is the least."""
        return {
            "warm_start/steps_saved": float(self.origin_steps if self.saved is None else self.saved),
            "warm_start/began": self.began,
            "warm_start/gained_at_the_end": abs(self.ended - self.origin_ended)
            * (1 if _better(self.measure, self.ended, self.origin_ended) else -1),
        }


def saving(home: Home, plan: Plan, task: Task, outcome: Outcome) -> Saving | None:
    """What starting from the plan's parent saved this task; None for a run from nothing, or where it was not measured."""
    if plan.parent_model is None or outcome.start is None or outcome.end is None:
        return None
    origin = published.origin(home, plan.parent_model)
    record = published.result(home, origin, task)
    if record is None:
        return None
    before, (measure, _) = Outcome(task, record["result"], record["metrics"]), HELD_OUT[task]
    if before.start is None or before.end is None:
        return None
    steps = int(record["result"].get("steps", 0))
    curve = [(0.0, before.start), *before.curve(measure), (float(steps), before.end)]
    reached = [step for step, value in curve if value == outcome.start or _better(measure, value, outcome.start)]
    return Saving(
        parent=plan.parent_model,
        origin=origin,
        measure=measure,
        began=outcome.start,
        ended=outcome.end,
        origin_ended=before.end,
        steps=int(outcome.result.get("steps", 0)),
        origin_steps=steps,
        saved=int(min(reached)) if reached else None,
    )


def _better(measure: str, value: float, other: float) -> bool:
    more: Mapping[str, bool] = dict(HELD_OUT.values())
    return value > other if more[measure] else value < other


def metadata(found: Saving | None) -> dict[str, Any]:
    """For Dagster: nothing for a run from nothing."""
    return {} if found is None else {"warm_start": found.said, **found.metrics}
