"""Which model is the best start for a training run: the best clean version, else the base, else nothing.

A version may be a parent when it is clean (no taint, weights there, consent standing for all that it ever saw) and fits
the plan (same shape, code and latent space). The gate's verdict does not count: a refused candidate may be ahead of the
champion without being ahead by enough. Versions compare by their flow loss on the same held-out clips, as their stored
scorecards have it; losses of two latent spaces do not compare.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from assets.consent.standing import standing_violations
from assets.home import Home
from assets.model import published
from assets.model.config import TASKS, Plan, shaping
from assets.model.scorecards import BASE, PRIMARY, Scorecard, stored_scorecards
from assets.registry.versions import CHAMPION, Registry, Version

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


def best(home: Home, cold: Plan, heldout: str) -> tuple[str | None, str]:
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
    return base, why if base else f"{why}; there is no base of this size and shape"


def unclean(home: Home, model_key: str) -> str:
    """Why nothing may start from this model or base; empty if it may."""
    if model_key.startswith(published.BASE):
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
