"""Rows of a scorecard: a metric over a slice, with its interval, its sample count and its method, and the numbers behind it.

A mean's 95 % interval is a percentile bootstrap over clips, with random numbers keyed by the metric, so that measuring
the same thing twice gives the same row. A share's is Wilson's, which is right where all or none of a few are right.
Knows nothing of what is measured. Loads torch for the bootstrap alone: the promotion gate reads rows without it.

The base's answers on the held-out trials are the same every night, so a file keeps them (`cached`). It says which weights,
trials and code it comes from (`base_digest`) and is not read for others. Flow losses of two models compare where both codecs
encode into the same latent space, by its digest; decoders may differ.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open

import training
from training.consent.canonical import file_sha256
from training.process import write_json

DRAWS = 2000
Row = dict[str, Any]


@dataclass(frozen=True)
class Metric:
    """What a number is. `better` is higher, lower or none (it describes, it does not rank)."""

    name: str
    unit: str
    better: str
    method: str

    def row(self, part: str, values: Sequence[float]) -> Row:
        """The mean of the values with its interval; one value alone has none."""
        if not values:
            return self.missing("no clip to measure", part)
        bounds = interval(values, self.name) if len(values) > 1 else (None, None)
        return self._measured(part, sum(values) / len(values), len(values), *bounds)

    def share(self, part: str, right: Sequence[bool]) -> Row:
        """The share of verdicts that are right, with its interval."""
        if not right:
            return self.missing("no clip to measure", part)
        return self._measured(part, sum(right) / len(right), len(right), *wilson(sum(right), len(right)))

    def exact(self, part: str, value: float, n: int) -> Row:
        """A number that is not a mean: a count, or a rate of a machine."""
        return self._measured(part, value, n)

    def missing(self, why: str, part: str = "all") -> Row:
        """The honest row of what could not be measured."""
        return self._measured(part, None, 0) | {"state": "not_measured", "why": why}

    def slices(self, values: Mapping[str, float], parts: Mapping[str, Sequence[str]]) -> list[Row]:
        """One row a slice from values by clip; a slice of fewer than two clips says nothing and has no row."""
        return [
            self.row(part, [values[clip_id] for clip_id in clip_ids])
            for part, clip_ids in sorted(parts.items())
            if part == "all" or len(clip_ids) > 1
        ]

    def _measured(
        self, part: str, value: float | None, n: int, low: float | None = None, high: float | None = None
    ) -> Row:
        numbers = {"value": value, "ci_low": low, "ci_high": high, "n": n}
        about = {"unit": self.unit, "better": self.better, "method": self.method, "state": "measured", "why": None}
        return {"metric": self.name, "slice": part, **numbers, **about}


@dataclass(frozen=True)
class Measured:
    """What one part of a scorecard measured: its rows, and the numbers behind them.

    `values` are by metric, or "metric@slice" (see `key`), and by clip, trial or scene; two models are compared by them in
    pairs.
    """

    rows: list[Row]
    values: dict[str, dict[str, float]] = field(default_factory=dict)

    def __add__(self, other: Measured) -> Measured:
        return Measured(self.rows + other.rows, self.values | other.values)


def key(metric: str, part: str) -> str:
    """The key of a slice's values: the metric alone for all of them, "metric@base" for the slice "reference=base"."""
    return metric if part == "all" else f"{metric}@{part.removeprefix('reference=')}"


def by_part(metric: str, values: Mapping[str, float], parts: Mapping[str, list[str]]) -> dict[str, dict[str, float]]:
    """The values of each slice that has more than one clip."""
    chosen = {part: clips for part, clips in parts.items() if part == "all" or len(clips) > 1}
    return {key(metric, part): {clip_id: values[clip_id] for clip_id in clips} for part, clips in chosen.items()}


def interval(values: Sequence[float], name: str) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean; `name` keys the draws."""
    import torch

    from training.model.flow import keyed

    x_N = torch.tensor(values, dtype=torch.float64)
    picks_DN = torch.randint(len(values), (DRAWS, len(values)), generator=keyed("bootstrap", name, len(values)))
    means_D = x_N[picks_DN].mean(1)
    low, high = torch.quantile(means_D, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


def wilson(right: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (E. B. Wilson, JASA 22, 1927). ValueError for a share of nothing."""
    if not 0 <= right <= n or n < 1:
        raise ValueError(f"{right} of {n} is no share")
    z = 1.959964
    share, width = right / n, z * math.sqrt(right * (n - right) / n + z**2 / 4) / (n + z**2)
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    # exact at the ends, where rounding would leave 0.999...
    return (0.0 if right == 0 else middle - width), (1.0 if right == n else middle + width)


DECODING = (
    "head.",
    "widen.",
    "decoder.",
    "refine_pixels.",
    "smoother.",
)  # what a codec's tensors for decoding begin with
SHAPING = ("kind", "channels", "patch", "stride")  # what else of its configuration decides the latents


def base_digest(base_dir: str | Path, model_dir: str | Path, trials: int, seed: int) -> str:
    """SHA-256 of the base's weights, of what makes the trials (number, seed, the model's frames) and of the source here."""
    stride = json.loads((Path(model_dir) / "codec.json").read_text()).get("stride")
    sha256 = hashlib.sha256(f"{trials} {seed} {stride}".encode())
    root = Path(training.__file__).parent
    source = [path for path in sorted(root.rglob("*.py")) if "consent" not in path.relative_to(root).parts]
    weights = [
        Path(base_dir) / f"{task}.{kind}" for task in ("codec", "transformer") for kind in ("json", "safetensors")
    ]
    for path in (*weights, *source):
        sha256.update(path.name.encode() + bytes.fromhex(file_sha256(path)))
    return sha256.hexdigest()


def cached(path: str, digest: str, measure: Callable[[], Measured]) -> Measured:
    """What the file at `path` holds under this digest; where it does not, measured and written there."""
    if path and (measured := _read(Path(path), digest)) is not None:
        return measured
    measured = measure()
    if path:
        write_json(Path(path), {"digest": digest, "rows": measured.rows, "values": measured.values}, allow_nan=False)
    return measured


def _read(path: Path, digest: str) -> Measured | None:
    try:
        record = json.loads(path.read_text())
        return Measured(record["rows"], record["values"]) if record["digest"] == digest else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def latent_space(folder: str | Path) -> str:
    """SHA-256 of the tensors that encode, statistics included, and of the latents' shape. Raises OSError, KeyError."""
    folder = Path(folder)
    config = json.loads((folder / "codec.json").read_text())
    digest = hashlib.sha256(json.dumps([config.get(name) for name in SHAPING]).encode())
    with safe_open(folder / "codec.safetensors", framework="numpy") as file:
        for name in sorted(file.keys()):
            if not name.startswith(DECODING):
                # a base is stored in half precision, and averaging turns -0.0 into 0.0
                tensor = file.get_tensor(name).astype(np.float32) + np.float32(0)
                digest.update(f"{name} {tensor.shape}".encode() + tensor.tobytes())
    return digest.hexdigest()
