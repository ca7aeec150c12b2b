"""An installation's own thresholds: `curation.yaml` in the home changes numbers of the policy without touching the code.

    sharpness: {low: 8}
    detail: {severity: quality, low: 0.75}
    motion: {low: 0.001, unit: "diagonals/s, 90th percentile"}   # a unit is never changed, only asserted

What belongs here: reading, checking and writing that file. A change that the policy does not know, or that makes no
sense, is a PolicyError and decides nothing. What is fatal stays fatal, and can only be made stricter: that takes code
and a review, not a line of configuration.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

import yaml

from assets.curation.policy.policy import POLICY, Check, Policy
from assets.home import Home

KEY = "curation.yaml"
Changes = Mapping[str, Mapping[str, Any]]  # by check: low, high, severity, unit
DEFAULT = "default"  # as a value: back to what the policy says
_SHARES = ("share", "relative difference", "0 to 1", "probability")  # units whose values lie between 0 and 1
_COUNTED = ("s", "faces", "variance", "diagonals", "mean change")  # units whose values are never below 0


class PolicyError(ValueError):
    """A change of the policy that cannot be made; says which, and what could be."""


def policy_of(home: Home, base: Policy = POLICY) -> Policy:
    """The policy that this home decides by. Raises PolicyError for a file that cannot be followed."""
    return tuned(read_changes(home), base)


def read_changes(home: Home) -> dict[str, dict[str, Any]]:
    """What the home's file says; empty without one. Raises PolicyError for a file of another form."""
    if not home.store.exists(KEY):
        return {}
    where = home.store.uri(KEY)
    try:
        changes = yaml.load(home.store.get(KEY), _Strict)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PolicyError(f"{where} is not YAML: {' '.join(str(error).split())}") from None
    if changes is None:
        return {}
    if not isinstance(changes, dict) or not all(isinstance(change, dict) for change in changes.values()):
        raise PolicyError(f"{where} is not a list of checks with their changes, such as `sharpness: {{low: 8}}`")
    return {str(check): {str(field): value for field, value in change.items()} for check, change in changes.items()}


def write_changes(home: Home, changes: Changes) -> None:
    """Replace the home's file; without changes it is removed. Raises PolicyError before anything is written."""
    tuned(changes)
    if kept := {check: dict(change) for check, change in sorted(changes.items()) if change}:
        head = f"# thresholds of this home, over those of {POLICY.version}\n"
        home.store.put(KEY, (head + yaml.safe_dump(kept)).encode())
    else:
        home.store.delete(KEY)


def with_settings(changes: Changes, settings: list[str]) -> dict[str, dict[str, Any]]:
    """The changes with `check.field=value` added; the value `default` takes one away. Raises PolicyError."""
    checks = {check: dict(change) for check, change in changes.items()}
    for setting in settings:
        name, equals, text = setting.partition("=")
        check, dot, field = name.strip().partition(".")
        if not (equals and dot and field and text.strip()):
            raise PolicyError(f"{setting!r} sets nothing; write it as sharpness.low=8, or sharpness.low={DEFAULT}")
        _settable(_known(check, POLICY), field)
        if (value := _read(text)) == DEFAULT:
            checks.get(check, {}).pop(field, None)
        else:
            checks.setdefault(check, {})[field] = value
    return {check: change for check, change in checks.items() if change}


def tuned(changes: Changes, base: Policy = POLICY) -> Policy:
    """The policy with these changes. Raises PolicyError for the first that cannot be made."""
    checks = {check.name: check for check in base.checks}
    for name, change in changes.items():
        check = _known(name, base)
        for field, value in change.items():
            check = _changed(check, field, value)
        _keep_order(check, base.check(name))
        checks[name] = check
    return replace(base, checks=tuple(checks.values()))


def _keep_order(check: Check, usual: Check) -> None:
    """Raises PolicyError where the bounds would pass each other: then no clip could pass, or every one."""
    if check.low is None or check.high is None or usual.low is None or usual.high is None:
        return
    if (check.low > check.high) != (usual.low > usual.high):
        side = "above" if check.low > check.high else "not above"
        raise PolicyError(f"{check.name}: low {check.low:g} is {side} high {check.high:g}; the check would say nothing")


def _known(name: str, policy: Policy) -> Check:
    names = [check.name for check in policy.checks]
    if name in names:
        return policy.check(name)
    near = get_close_matches(name, names, 1)
    raise PolicyError(
        f"no check {name!r}; " + (f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}")
    )


def _settable(check: Check, field: str) -> None:
    """Raises PolicyError for a field that this check does not have, or that is not the home's to set."""
    can = [bound for bound in ("low", "high") if getattr(check, bound) is not None]
    can += [] if check.severity == "fatal" else ["severity"]
    if field not in (*can, "unit"):
        offered = f"it has {' and '.join(can)}" if can else "it has nothing that can be changed"
        raise PolicyError(f"{check.name}.{field}: the check has no such setting; {offered}")


def _changed(check: Check, field: str, value: Any) -> Check:
    """The check with one field changed."""
    _settable(check, field)
    if field == "unit":
        if value != check.unit:
            raise PolicyError(f"{check.name}.unit: {value!r} is not the unit of this check, which is {check.unit!r}")
        return check
    if field == "severity":
        if value not in ("quality", "info"):
            raise PolicyError(f"{check.name}.severity: {value!r} is neither quality nor info")
        return replace(check, severity=value)
    bound, was = _number(check, field, value), getattr(check, field)
    if check.severity == "fatal" and (bound < was if field == "low" else bound > was):
        raise PolicyError(f"{check.name}.{field}: {bound:g} is more lenient than {was:g}, and the check is fatal")
    return replace(check, low=bound) if field == "low" else replace(check, high=bound)


def _number(check: Check, field: str, value: Any) -> float:
    """The value as a number that the check's unit allows."""
    where, unit = f"{check.name}.{field}", check.unit or ""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise PolicyError(f"{where}: {value!r} is not a number; the unit is {unit}")
    if unit.startswith(_SHARES) and not 0 <= value <= 1:
        hint = f"; write {value / 100:g} for {value:g} %" if 1 < value <= 100 else ""
        raise PolicyError(f"{where}: {value:g} is not between 0 and 1, and the unit is {unit}{hint}")
    if unit.startswith(_COUNTED) and value < 0:
        raise PolicyError(f"{where}: {value:g} is below 0, and the unit is {unit}")
    return float(value)


def _read(text: str) -> Any:
    """A value as typed: a number where it is one, else the text."""
    try:
        return float(text)
    except ValueError:
        return text.strip()


class _Strict(yaml.SafeLoader):
    """YAML in which no key stands twice: of two thresholds for one check, one would be lost silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if repeated := [key for at, key in enumerate(keys) if key in keys[:at]]:
            raise yaml.constructor.ConstructorError(None, None, f"{repeated[0]!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)
