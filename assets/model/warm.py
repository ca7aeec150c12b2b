"""Warm starts: from which model a training run begins, decided once for each plan, and what that saved.

A decided plan keeps its parent, so that the stages of one run, a retry and a later night with nothing new all mean the same
model; only a parent that is no longer clean is decided anew. `parents` chooses the best start. What the parent's weights saw
goes with them: the training process holds all of it to the ledger.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from assets.home import Home
from assets.model import config, parents, published
from assets.model.config import BEST, FROM_BASE, NOTHING, PARENT, ConfigError, Plan, Task
from assets.model.outcome import HELD_OUT, Outcome


def plan(home: Home, snapshot_root: str) -> Plan:
    """The plan for a snapshot under this home's settings and the code at hand, as far as its start is decided."""
    cold = config.cold_plan(home, snapshot_root)
    return replace(cold, parent_model=decided(home, cold, config.parent_setting(home.training)))


def _key(cold: Plan) -> str:
    return f"starts/{cold.model_key}.json"


def decided(home: Home, cold: Plan, setting: str) -> str | None:
    """The parent of a plan as far as it is decided. `cold` is the plan without one, `setting` its `parent_model`.

    Raises ConfigError for the setting "base" if these choices have no base.
    """
    if setting == NOTHING:
        return None
    if setting == FROM_BASE:
        if cold.base_model is None:
            raise ConfigError(f"{PARENT}: there is no base of this size and shape; set it to {BEST!r} or {NOTHING!r}")
        return cold.base_model
    if setting != BEST:
        return setting
    return _kept(home, cold).get("parent_model")


def reason(home: Home, cold: Plan, setting: str) -> str:
    """Why a decided plan starts where it does, in plain words."""
    return _kept(home, cold).get("why", "not decided yet") if setting == BEST else "as the settings say"


def decide(home: Home, cold: Plan, setting: str, heldout: str) -> str:
    """Decide what the plan starts from, unless that is decided and still clean. Returns what and why.

    `heldout` is the digest of the plan's own held-out clips: models that were measured on them compare best.
    """
    if setting != BEST:
        parent = decided(home, cold, setting)
        return f"{_from(parent)}, as the settings say"
    why = ""
    if home.store.exists(_key(cold)):
        parent = decided(home, cold, setting)
        unclean = "" if parent is None else parents.unclean(home, parent)
        if not unclean:
            return f"{_from(parent)}, as decided before"
        why = f" (decided anew: model {parent} is not clean any more: {unclean})"
    parent, chosen_because = parents.best(home, cold, heldout)
    why = chosen_because + why
    home.store.put(_key(cold), json.dumps({"parent_model": parent, "why": why}, sort_keys=True).encode())
    return f"{_from(parent)}: {why}"


def _from(parent: str | None) -> str:
    return "from nothing" if parent is None else f"from model {parent}"


def _kept(home: Home, cold: Plan) -> dict[str, Any]:
    return json.loads(home.store.get(_key(cold))) if home.store.exists(_key(cold)) else {}


@dataclass(frozen=True)
class Saving:
    """A task's warm run beside the run from nothing at the root of its ancestry; losses are on each one's held-out clips."""

    parent: str
    origin: str  # key of the model that was trained from nothing
    measure: str
    began: float
    ended: float
    origin_ended: float
    steps: int
    origin_steps: int
    saved: int | None  # steps that the origin took to where this run began; None: it never reached that

    @property
    def summary(self) -> str:
        reached = f"took {self.saved} of its {self.origin_steps} steps to reach that"
        if self.saved is None:
            reached = f"did not reach that in {self.origin_steps} steps"
        return (
            f"began from model {self.parent} at {self.measure} {self.began:.4g}; from nothing, model {self.origin} "
            f"{reached}. Ended after {self.steps} steps at {self.ended:.4g}, that one at {self.origin_ended:.4g}"
        )

    @property
    def metrics(self) -> dict[str, float]:
        """For MLflow. If the origin never reached that, all of its steps count as saved, which is the least."""
        gained = abs(self.ended - self.origin_ended)
        return {
            "warm_start/steps_saved": float(self.origin_steps if self.saved is None else self.saved),
            "warm_start/began": self.began,
            "warm_start/gained_at_the_end": gained if _better(self.measure, self.ended, self.origin_ended) else -gained,
        }


def saving(home: Home, plan: Plan, task: Task, outcome: Outcome) -> Saving | None:
    """What starting from the plan's parent saved this task; None for a run from nothing, or if it was not measured."""
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
