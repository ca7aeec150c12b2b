"""What weights ever saw: the roots of all snapshots whose clips went into them, each with the time of its first use.

An exposure is only ever added to: by training, by going on from a checkpoint, by a parent's weights, by the codec that
made the latents. It is written into the weights' own file and beside them, in `state.json` and `result.json`; weights
that do not say what they saw, or whose two statements differ, are not used. `trainer.checkpoint` decides where a run begins,
the guard whether the clips are still consented to.

Who can rewrite the weights' file can rewrite what it says. Against that there is the registered model's signed
commitment to the file's digest, which is made elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from training.consent.canonical import CanonicalError, parse_strictly
from training.consent.guard import ConsentViolation
from training.consent.times import instant, time_text
from training.process import write_json

Exposure = Mapping[str, str]  # snapshot root -> the time from which on its clips must have been consented to

HEADER = "exposure"  # the only metadata key: safetensors writes several in any order
ROOTS, SINCE = "exposure", "exposed_since"  # in state.json and result.json
TAINTED = "tainted"  # the file that marks a run folder whose weights saw what was withdrawn
CHECKPOINTS = "checkpoints"


def joined(*exposures: Exposure) -> dict[str, str]:
    """All that was seen, each snapshot since its first use."""
    earliest: dict[str, str] = {}
    for exposure in exposures:
        for root, since in exposure.items():
            earliest[root] = min(earliest.get(root, since), since, key=instant)
    return dict(sorted(earliest.items()))


def header(exposure: Exposure | None) -> dict[str, str] | None:
    """The metadata of a weights file; None where it is unknown; no run uses such weights."""
    return None if exposure is None else {HEADER: json.dumps(joined(exposure), separators=(",", ":"))}


def fields(exposure: Exposure) -> dict[str, Any]:
    """How state.json and result.json say it: the sorted roots, and since when."""
    return {ROOTS: sorted(exposure), SINCE: joined(exposure)}


def of_weights(path: Path) -> dict[str, str]:
    """What a weights file says that it saw. Raises ConsentViolation where it says nothing."""
    try:
        with safe_open(path, framework="pt") as file:
            return _checked(parse_strictly((file.metadata() or {})[HEADER]))
    except (OSError, SafetensorError, KeyError, CanonicalError, ValueError) as error:
        raise _unknown(path, error) from error


def of_checkpoint(checkpoint: Path, state: Mapping[str, Any]) -> dict[str, str]:
    """What a checkpoint's weights saw; the state and all weight files must agree. Raises ConsentViolation."""
    try:
        stated = _checked(state[SINCE])
        roots = list(state[ROOTS])
    except (KeyError, TypeError, ValueError) as error:
        raise _unknown(checkpoint / "state.json", error) from error
    names = ("weights", "ema", "best") if "best" in state else ("weights", "ema")
    statements = [of_weights(checkpoint / f"{name}.safetensors") for name in names]
    if roots != sorted(stated) or any(statement != stated for statement in statements):
        raise ConsentViolation.of_all("exposure.contradicted", f"{checkpoint}: state.json says other than the weights")
    if not stated and state.get("snapshot_root"):
        raise _unknown(checkpoint, ValueError("a checkpoint of a snapshot that saw nothing"))
    return stated


def of_parent(folder: Path, task: str) -> dict[str, str]:
    """What a parent's weights saw, by their file and its result.json. Raises ConsentViolation.

    A parent must have finished: the weights of a run that consent stopped pass nothing on.
    """
    if (folder / TAINTED).exists():
        raise ConsentViolation.of_all("exposure.tainted", f"{folder}: consent was withdrawn from what this run saw")
    try:
        result = parse_strictly((folder / "result.json").read_text("utf-8"))
        roots = set(result[ROOTS])
        stopped = result.get("stopped")
    except (OSError, UnicodeError, CanonicalError, KeyError, TypeError, AttributeError) as error:
        raise _unknown(folder / "result.json", error) from error
    if stopped is not None:
        code = "exposure.tainted" if result.get("reasons") else "exposure.unfinished"
        raise ConsentViolation.of_all(code, f"{folder}: the parent's run did not finish: {stopped}")
    stated = of_weights(folder / f"{task}.safetensors")
    if not roots >= set(stated):
        raise ConsentViolation.of_all("exposure.contradicted", f"{folder}: result.json hides what the weights saw")
    return stated


def mark_tainted(run_dir: Path, violation: ConsentViolation, exposure: Exposure) -> None:
    """Mark what a run has left behind; from now on it can be neither resumed nor be a parent."""
    record = {"reasons": {clip: list(codes) for clip, codes in violation.reasons.items()}, **fields(exposure)}
    write_json(run_dir / TAINTED, record, sort_keys=True)


def _checked(value: Any) -> dict[str, str]:
    """Roots by time as read from a file. Raises ValueError, also for an invalid time."""
    if not isinstance(value, dict) or not all(isinstance(since, str) for since in value.values()):
        raise ValueError(f"not roots with times: {value!r}")
    return {root: time_text(instant(since)) for root, since in sorted(value.items())}


def _unknown(where: Path, error: Exception) -> ConsentViolation:
    return ConsentViolation.of_all("exposure.unknown", f"{where} does not say what the weights saw: {error}")
