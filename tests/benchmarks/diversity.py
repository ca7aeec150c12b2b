"""What weighing clips costs: classes to weights at 100,000 and 1,000,000 clips, subjects by meaning, an epoch's plan.

Clips are drawn from long-tailed classes such as real footage has. Linear means: ten times the clips in about ten times
the CPU seconds, on one core (OMP_NUM_THREADS=1). The effect on the same clips stands beside the cost.
"""

from __future__ import annotations

import resource
import time
from typing import Any

import numpy as np

from assets.coverage.classes import POLICY, classes_of, leaders
from assets.coverage.measures import Coded, effective_number
from assets.coverage.sampling_weights import balance, caps_of
from training.data.packing import Item, plan

SIZES = (100_000, 1_000_000)
OPEN = {
    "subject": (512, 1.4),
    "place": (5_000, 1.3),
    "country": (120, 1.5),
    "contributor": (20_000, 1.3),
}  # classes, tail
TEXTS, TOPICS, WIDTH = 100_000, 400, 384
PLANNED = 100_000


def diversity() -> dict[str, Any]:
    found: dict[str, Any] = {f"{size}_clips": _weighed(size) for size in SIZES}
    small, large = (found[f"{size}_clips"]["weigh_cpu_s"] for size in SIZES)
    found["cpu_for_ten_times_the_clips"] = round(large / small, 2)
    found["naming"] = _named()
    found["subjects"] = _clustered()
    found["epoch_plan"] = _planned()
    found["peak_memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return found


def _world(size: int) -> dict[str, Coded]:
    rng = np.random.default_rng(0)
    world = {}
    for name, (classes, tail) in OPEN.items():
        world[name] = Coded(tuple(f"{name} {i}" for i in range(classes)), np.minimum(classes, rng.zipf(tail, size)) - 1)
    for name, listed in POLICY.closed().items():
        world[name] = Coded(listed, rng.choice(len(listed), size, p=_falling(len(listed))))
    return world


def _falling(classes: int) -> np.ndarray:
    shares = 0.5 ** np.arange(classes)
    return shares / shares.sum()


def _weighed(size: int) -> dict[str, Any]:
    world = _world(size)
    started = time.process_time()
    found = balance(world)
    seconds = time.process_time() - started
    caps = caps_of(world)
    return {
        "weigh_cpu_s": round(seconds, 2),
        "least": round(float(found.ratios.min()), 3),
        "most": round(float(found.ratios.max()), 3),
        "caps_not_reached": dict(found.unmet),
        "effect": {name: _effect(one, found.ratios, caps.get(name)) for name, one in world.items()},
    }


def _effect(one: Coded, ratios: np.ndarray, cap: float | None) -> dict[str, Any]:
    before, after = one.sums(), one.sums(ratios)
    return {
        "effective_classes": [round(effective_number(before), 2), round(effective_number(after), 2)],
        "largest_share": [round(float(each.max() / each.sum()), 4) for each in (before, after)],
        "cap": cap,
    }


def _named() -> dict[str, Any]:
    """The classes of a clip from its rows, a million times."""
    item = {"declared_location": "Rue Haute, Brussels, Belgium", "declared_time_of_day": "dusk", "contributor_id": "c"}
    signals = {"width": 1920, "height": 1080, "motion_diag_per_s": 0.03, "camera_motion": "pan"}
    started = time.process_time()
    for _ in range(SIZES[-1]):
        classes_of(item, signals, 5.0, {"location": "pass"}, "a tram")
    return {"clips": SIZES[-1], "cpu_s": round(time.process_time() - started, 2)}


def _clustered() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    topics = rng.normal(size=(TOPICS, WIDTH)).astype(np.float32)
    vectors = topics[rng.integers(TOPICS, size=TEXTS)] + 0.6 * rng.normal(size=(TEXTS, WIDTH)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    started = time.process_time()
    found = leaders(vectors)
    return {"texts": TEXTS, "subjects": len(set(found.tolist())), "cpu_s": round(time.process_time() - started, 2)}


def _planned() -> dict[str, Any]:
    """An epoch of weighted clips beside one of even ones, in one run: the ratio is what weights cost."""
    weights = balance(_world(PLANNED)).weights.tolist()
    even = [Item(f"clip-{i:07}", 80) for i in range(PLANNED)]
    weighted = [Item(item.clip_id, 80, (), weight) for item, weight in zip(even, weights, strict=True)]
    seconds = []
    for items in (even, weighted):
        started = time.process_time()
        plan(items, 1280, 0, 0)
        seconds.append(time.process_time() - started)
    return {
        "clips": PLANNED,
        "even_cpu_s": round(seconds[0], 2),
        "weighted_cpu_s": round(seconds[1], 2),
        "weighted_to_even": round(seconds[1] / seconds[0], 2),
    }
