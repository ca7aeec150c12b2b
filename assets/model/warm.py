"""Warm starts: from which model a training run begins, decided once for each plan, and what that saved.

A decided plan keeps its parent, so that the stages of one run, a retry and a later night with nothing new all mean the same
model; only a parent that is no longer clean is decided anew. What the parent's weights saw goes with them: the training
process holds all of it to the ledger.

The best start is the best clean version, else the base, else nothing. A version may be a parent when it is clean (no taint,
weights there, consent standing for all that it ever saw) and fits the plan (same shape, code and latent space). The gate's
verdict does not count: a refused candidate may be ahead of the champion without being ahead by enough. Versions compare by
their flow loss on the same held-out clips; losses of two latent spaces do not compare.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from assets.consent.standing import standing_violations
from assets.home import Home
from assets.model import config, published
from assets.model.config import BEST, FROM_BASE, NOTHING, PARENT, TASKS, ConfigError, Plan, Task, shaping
from assets.model.outcome import Outcome
from assets.model.published import BASE, PRIMARY, Scorecard, stored_scorecards
from assets.registry import CHAMPION, Registry, Version
from training.config import HELD_OUT

Broken = Callable[[str], Sequence[str]]  # a snapshot's clips, with reasons, that the ledger no longer allows
Comparison = tuple[str, str]  # digest of the held-out clips, and the method: only losses of one such pair compare


@dataclass(frozen=True)
class Loss:
    """A held-out flow loss, and the base's on the same clips if it was measured."""

    value: float
    base: float | None


@dataclass(frozen=True)
class Option:
    """A version that a run may start from, with its losses."""

    number: int
    key: str
    champion: bool
    losses: Mapping[Comparison, Loss]

    def __str__(self) -> str:
        return f"version {self.number}, the champion" if self.champion else f"version {self.number}"


def best_start(home: Home, cold: Plan, heldout: str) -> tuple[str | None, str]:
    """The key of the model or base to start from, None for nothing, and why in plain words.

    `cold` is the plan without a parent; `heldout` names its held-out clips.
    """
    options, left = _options(home, cold)
    base = cold.base_model
    comparison = _comparison(options, heldout)
    chosen = _chosen(options, comparison, base)
    if chosen is None:
        why = f"no version is clean and fits{left}"
    elif comparison is None or comparison not in chosen.losses:
        return chosen.key, f"{chosen} is clean; no other version was measured on the same clips{left}"
    else:
        loss, others = chosen.losses[comparison], sum(comparison in option.losses for option in options) - 1
        clips = "tonight's held-out clips" if comparison[0] == heldout else f"held-out clips {comparison[0][:12]}"
        beside = f"the lowest of {others + 1} clean versions" if others else "the only clean version measured there"
        why = f"{chosen} has flow loss {loss.value:.4g} on {clips}, {beside}{left}"
        if base is None or loss.base is None or loss.value <= loss.base:
            return chosen.key, why
        why = f"{why}; the base has {loss.base:.4g} there, which is better"
    return base, why if base or cold.pretrained else f"{why}; there is no base of this size and shape"


def unclean_because(home: Home, model_key: str) -> str:
    """Why nothing may start from this model or base; empty if it may."""
    if model_key.startswith(published.BASE_KEY):
        return "" if published.base_folder(model_key) else "it is not a base of this version of the code"
    version = next((v for v in Registry(home).versions() if v.model_key == model_key), None)
    return _why_unclean(home, version, _broken(home)) if version else "its version is gone"


def _why_unclean(home: Home, version: Version, broken: Broken) -> str:
    if version.taint:
        return version.taint
    folder = published.folder(version.model_key)
    if not all(home.store.exists(f"{folder}/{name}") for name in ("result.json", *(f"{t}.safetensors" for t in TASKS))):
        return "its weights are gone"
    return "; ".join([clip for root in published.exposure_of(home, version) for clip in broken(root)][:3])


def _broken(home: Home) -> Broken:
    """Asks the ledger about each snapshot once: versions of one ancestry saw much the same."""
    return cache(lambda root: standing_violations(home, root))


def _options(home: Home, cold: Plan) -> tuple[list[Option], str]:
    """The versions that are clean and fit, newest first, and why the champion is not among them, if there is one."""
    fitting, left, broken = [], "", _broken(home)
    for version in Registry(home).versions():
        serves = CHAMPION in version.aliases
        if why := _unfit(home, cold, version.model_key) or _why_unclean(home, version, broken):
            left = f"; the champion, version {version.number}, cannot be the start: {why}" if serves else left
        else:
            fitting.append((version, serves))
    ancestor = cold.base_model or _common_origin(home, fitting)
    options = []
    for version, serves in fitting:
        if (origin := published.origin(home, version.model_key)) == ancestor:
            losses = _losses(stored_scorecards(home, version.model_key))
            options.append(Option(int(version.number), version.model_key, serves, losses))
        elif serves:
            left = f"; the champion, version {version.number}, has another latent space: it descends from {origin}"
    return options, left


def _common_origin(home: Home, fitting: Sequence[tuple[Version, bool]]) -> str | None:
    """Whose descendants are compared if there is no base: the champion's origin, else the newest version's."""
    first = next((version for version, serves in fitting if serves), fitting[0][0] if fitting else None)
    return published.origin(home, first.model_key) if first else None


def _unfit(home: Home, cold: Plan, model_key: str) -> str:
    """Which choice keeps the model's weights from fitting this plan; empty if none does."""
    pair = published.pair(home, model_key)
    if pair is None:
        return "its weights are gone"
    for task in TASKS:
        before, now = shaping(pair[task]["choices"]), shaping(cold.choices(task))
        if changed := [name for name in now if before[name] != now[name]]:
            return f"{task}.{changed[0]} was {before[changed[0]]!r}"
    return "" if pair["code_version"] == cold.code_version else "it was trained by other code"


def _losses(cards: Sequence[Scorecard]) -> dict[Comparison, Loss]:
    losses = {}
    for card in cards:
        if own := card.row(PRIMARY):
            losses[card.heldout, own["method"]] = Loss(own["value"], card.value(PRIMARY, BASE))
    return losses


def _comparison(options: Sequence[Option], heldout: str) -> Comparison | None:
    """Where the versions compare: on what the champion was measured on, if it is one of them. Tonight's clips come first, if
    any version was measured on those, then the clips that most versions were measured on, then those of the newest."""
    champion = next((option for option in options if option.champion), None)
    candidates = champion.losses if champion else {comparison for option in options for comparison in option.losses}

    def preference(comparison: Comparison) -> tuple[bool, int, int, Comparison]:
        measured = [option.number for option in options if comparison in option.losses]
        return comparison[0] == heldout, len(measured), max(measured), comparison

    return max(candidates, key=preference, default=None)


def _chosen(options: Sequence[Option], comparison: Comparison | None, base: str | None) -> Option | None:
    """The lowest loss; of equal ones the champion's, then that of the oldest version, which saw least.

    If nothing compares: the champion, or the newest version if there is no base.
    """
    if comparison is not None:
        measured = [option for option in options if comparison in option.losses]
        return min(measured, key=lambda option: (option.losses[comparison].value, not option.champion, option.number))
    newest = next(iter(options), None) if base is None else None
    return next((option for option in options if option.champion), newest)


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
        if cold.pretrained:
            return None
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
        return f"{source(parent, cold)}, as the settings say"
    why = ""
    if home.store.exists(_key(cold)):
        parent = decided(home, cold, setting)
        unclean = "" if parent is None else unclean_because(home, parent)
        if not unclean:
            return f"{source(parent, cold)}, as decided before"
        why = f" (decided anew: model {parent} is not clean any more: {unclean})"
    parent, chosen_because = best_start(home, cold, heldout)
    why = chosen_because + why
    home.store.put(_key(cold), json.dumps({"parent_model": parent, "why": why}, sort_keys=True).encode())
    return f"{source(parent, cold)}: {why}"


def source(parent: str | None, cold: Plan) -> str:
    """What a run starts from, in words."""
    if parent is None:
        return f"from pretrained base {cold.pretrained['name']}" if cold.pretrained else "from nothing"
    return f"from model {parent}"


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
        return {
            "warm_start/steps_saved": float(self.origin_steps if self.saved is None else self.saved),
            "warm_start/began": self.began,
            "warm_start/gained_at_the_end": self.origin_ended - self.ended,
        }


def saving(home: Home, plan: Plan, task: Task, outcome: Outcome) -> Saving | None:
    """What starting from the plan's parent saved this task; None for a run from nothing, or if it was not measured."""
    if plan.parent_model is None or outcome.start is None or outcome.end is None:
        return None
    origin = published.origin(home, plan.parent_model)
    record = published.result(home, origin, task)
    if record is None:
        return None
    before, measure = Outcome(task, record["result"], record["metrics"]), HELD_OUT[task]
    if before.start is None or before.end is None:
        return None
    steps = int(record["result"].get("steps", 0))
    curve = [(0.0, before.start), *before.curve(measure), (float(steps), before.end)]
    reached = [step for step, value in curve if value <= outcome.start]
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
