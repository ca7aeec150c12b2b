"""How often each clip is seen: a whole number of times an epoch, by its weight and (seed, clip, epoch) alone.

What belongs here: the arithmetic, and the sealed file that states the weights of a snapshot's training clips. How
weights are chosen is the diversity stage's business; how an epoch's clips share steps is `packing`'s.

Weights are whole numbers of `EVEN`-ths, so that every machine counts the same. After E epochs a clip of weight w has
been seen floor or ceil of E w / EVEN times: the error never grows, no weight is ever rounded away, and a clip is seen
for the first time within ceil(EVEN / w) epochs. With all weights EVEN, every clip is in every epoch once.
This is systematic sampling along time, each clip from an offset of its own; Madow (1949), Annals of Math. Statistics 20.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from training.consent.canonical import CanonicalError, canonical, parse_strictly

SCHEMA = "rushes.repetition/1"
EVEN = 1 << 20  # weight of a clip that is seen once an epoch


class RepetitionError(ValueError):
    """Weights that are not those of this snapshot, or not what was asked for. Says what differs."""


def occurrences(clip_id: str, weight: int, seed: int, first: int, end: int) -> int:
    """How often the clip is seen in the epochs `first` to `end` - 1."""
    if weight == EVEN:  # nearly all clips of nearly all runs: spare them the hash
        return end - first
    offset = int.from_bytes(hashlib.sha256(f"turn {seed} {clip_id}".encode()).digest()[:8], "big") % EVEN
    return (end * weight + offset) // EVEN - (first * weight + offset) // EVEN


def stated(snapshot_root: str, policy: Mapping[str, Any], weights: Mapping[str, int]) -> bytes:
    """The file: canonical bytes whose SHA-256 a training configuration names. Raises RepetitionError."""
    _check(weights)
    return canonical(
        {
            "schema": SCHEMA,
            "snapshot_root": snapshot_root,
            "even": EVEN,
            "policy": dict(policy),
            "weights": dict(weights),
        }
    )


def read(path: str | Path, sha256: str, snapshot_root: str, clip_ids: Iterable[str]) -> dict[str, int]:
    """Weights by clip id, for exactly these clips of this snapshot. Raises RepetitionError for anything else."""
    try:
        data = Path(path).read_bytes()
        content: Any = parse_strictly(data.decode())
        schema, root, even, weights = (content[name] for name in ("schema", "snapshot_root", "even", "weights"))
    except (OSError, CanonicalError, UnicodeError, KeyError, TypeError) as error:
        raise RepetitionError(f"{path}: cannot be read as {SCHEMA}: {error!r}") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise RepetitionError(f"{path}: the file is not the one that was asked for ({sha256[:12]}); seal it again")
    if (schema, even) != (SCHEMA, EVEN):
        raise RepetitionError(f"{path}: is {schema!r} in units of 1/{even}, not {SCHEMA} in units of 1/{EVEN}")
    if root != snapshot_root:
        raise RepetitionError(f"{path}: the weights are those of snapshot {root[:12]}, not of {snapshot_root[:12]}")
    _check(weights)
    if unmatched := set(weights) ^ set(clip_ids):
        raise RepetitionError(
            f"{path}: {len(unmatched)} clips have a weight or train, not both, such as {min(unmatched)}"
        )
    return weights


def _check(weights: Mapping[str, int]) -> None:
    """Every clip is seen eventually, and an epoch is as long as it would be without weights."""
    unfit = [clip_id for clip_id, weight in weights.items() if type(weight) is not int or weight < 1]
    if unfit:
        raise RepetitionError(f"{len(unfit)} weights are no whole numbers from 1 up, such as that of {min(unfit)}")
    if sum(weights.values()) != len(weights) * EVEN:
        raise RepetitionError(f"the weights of {len(weights)} clips do not sum to {len(weights)} epochs' worth")
