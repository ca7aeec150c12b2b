"""The cost of comparing very many clips, and what is found among them. Hashes are synthetic.

A synthetic frame is drawn from a normal distribution: half of its covariance is that of hashes of real frames, half that
of pictures in general (power falls with the square of the frequency), so bits of codes agree among different clips about
as often as real ones do. A clip's frames drift at its own pace, from a fixed camera to a fast pan. What is copied is
drawn at three times the size, so that a crop takes a part of what was there, and keeps what the frame was.

Each step is a process of its own, so that its memory is its own; making the hashes is a step too and is not in the
figures. `planted` copies are known, a thousand of a kind where a fifth of the clips are as many, and a share found is
given with the lower end of its 95 % interval (Wilson); whatever else is found near is false. `crowd` clips are the
hard case: as many that all show one title card, coded each for itself, half of them with footage of their own beside
it, of which a known few are copies. `new day` compares a hundredth of the clips with all. CPU seconds are those of
the process, whose threads use both cores. The result of a step is kept under the digest of what it was made from, so that
a run that was stopped goes on where it was. `python -m tests.benchmarks duplicates_scale --sizes 10000 100000` measures
these sizes alone, and says that a million was not measured.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from assets.curation.dedup.candidate_pairs import Pairs, near_pairs
from assets.curation.dedup.similarity import ClipHashes
from assets.signals.frames import read
from assets.signals.phash import CHROMA_STEP, GRID, HASH_BYTES, LEVELS, SIDE, SPREAD, frame_hash, pack, unpack
from tests.benchmarks.harness import answer_of, peak_mib, timed

FOOTAGE = [Path(".vendor/footage") / name for name in ("bikes.mp4", "crew.mp4", "city.mpg", "park.mp4")]
SIZES = (10_000, 100_000, 1_000_000)
CROWD = 10_000
COPIES_MADE, CROWD_COPIES, SEED = 7000, 2100, 11
GOAL_S, GOAL_CLIPS, GOAL_RECALL, GOAL_MIB = 900, 1_000_000, 0.95, 12 * 1024
MADE_BY = (Path(__file__), Path("assets/signals/phash.py"))
FOUND_BY = (*MADE_BY, *sorted(Path("assets/curation/dedup").glob("*.py")))
LONGEST, SHORTEST = 32, 8  # frames
PACES = (0.0005, 0.005, 0.02, 0.08)  # share of a frame that is new in the next one
LARGE = 3 * SIDE
BATCH = 4096
Picture = np.ndarray  # float32 [n, h, w]: frames of a clip


@dataclass(frozen=True)
class Planted:
    """`copies[k]` is a clip that was made from clip `originals[k]` by `kinds[k]`."""

    film: ClipHashes
    originals: np.ndarray
    copies: np.ndarray
    kinds: list[str]


def general_covariance(side: int) -> np.ndarray:
    """[side * side, side * side] of pictures whose power falls with the square of the frequency, of variance 1."""
    down, over = np.meshgrid(np.fft.fftfreq(2 * side), np.fft.fftfreq(2 * side), indexing="ij")
    power = 1 / (down**2 + over**2 + (0.25 / side) ** 2)
    power[0, 0] = 0
    together = np.fft.ifft2(power).real
    rows, columns = np.divmod(np.arange(side * side), side)
    covariance = together[rows[:, None] - rows, columns[:, None] - columns]
    return covariance / covariance[0, 0]


def root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0))).astype(np.float32)


def packed(luma: np.ndarray, chroma: np.ndarray) -> np.ndarray:
    """Hashes uint8 [n, 88] of luma [n, 144] and chroma [n, 32], as `frame_hash` makes them of pictures."""
    luma = (luma - luma.mean(axis=1, keepdims=True)) / np.maximum(luma.std(axis=1, keepdims=True), 1e-3)
    levels = np.clip(np.rint((luma / SPREAD + 1) * (LEVELS / 2)), 0, LEVELS).astype(np.uint8)
    steps = np.clip(np.rint(chroma / CHROMA_STEP) + 8, 0, LEVELS).astype(np.uint8)
    nibbles = np.concatenate([levels, steps], axis=1)
    return nibbles[:, 0::2] << 4 | nibbles[:, 1::2]


def walks(seed: int, count: int = 300) -> np.ndarray:
    """Hashes uint8 [n, 88] in the place of real ones, where no footage is at hand: random walks over the pixels."""
    luma = np.random.default_rng(seed).standard_normal((count, SIDE * SIDE)).cumsum(axis=1)
    return packed(luma, np.zeros((count, 2 * GRID * GRID)))


def clips(count: int, real: np.ndarray, rng: np.random.Generator) -> ClipHashes:
    """`count` different clips. `real` are hashes of real frames, uint8 [n, 88]."""
    luma = unpack(real)[0]
    shape = root(0.5 * np.cov(luma.T) + 0.5 * general_covariance(SIDE))
    frames, counts = [], []
    for start in range(0, count, BATCH):
        size = min(BATCH, count - start)
        lengths = rng.integers(SHORTEST, LONGEST + 1, size)
        kept = np.arange(LONGEST) < lengths[:, None]
        pictures = drifting(size, shape, rng)[kept]
        palette = rng.normal(0, 12, (size, 1, 32)) + rng.normal(0, 1, (size, LONGEST, 32))
        frames.append(packed(pictures + luma.mean(axis=0), palette[kept]))
        counts.append(lengths)
    return film_of(np.concatenate(frames), np.concatenate(counts))


def drifting(size: int, shape: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """float32 [size, LONGEST, pixels]: every frame is a little of something new."""
    new = np.sqrt(rng.choice(PACES, size)).astype(np.float32)[:, None]
    state = rng.standard_normal((size, shape.shape[1]), np.float32)
    frames = np.empty((LONGEST, size, len(shape)), np.float32)
    for frame in range(LONGEST):
        frames[frame] = state @ shape.T
        state = np.sqrt(1 - new**2) * state + new * rng.standard_normal(state.shape, np.float32)
    return frames.transpose(1, 0, 2)


def film_of(frames: np.ndarray, counts: np.ndarray) -> ClipHashes:
    film = ClipHashes([])
    film.frames, film.counts = frames.reshape(-1, HASH_BYTES), counts.astype(np.int64)
    film.starts = np.cumsum(film.counts) - film.counts
    return film


def _resized(pictures: Picture, down: slice, over: slice) -> Picture:
    resized = (cv2.resize(picture[down, over], (SIDE, SIDE), interpolation=cv2.INTER_AREA) for picture in pictures)
    return np.stack(list(resized))


def _cropped(pictures: Picture, rng: np.random.Generator) -> Picture:
    kept = round(0.9 * LARGE)
    top, left = rng.integers(0, LARGE - kept + 1, 2)
    return _resized(pictures, slice(top, top + kept), slice(left, left + kept))


def _with_logo(pictures: Picture, rng: np.random.Generator) -> Picture:
    marked = pictures.copy()
    height, width = round(0.12 * LARGE), round(0.16 * LARGE)
    top, left = rng.choice([1, LARGE - height - 1]), rng.choice([1, LARGE - width - 1])
    marked[:, top : top + height, left : left + width] = rng.choice([-2, 2]) * pictures.std()
    return _whole(marked, rng)


def _whole(pictures: Picture, rng: np.random.Generator) -> Picture:
    return _resized(pictures, slice(None), slice(None))


def _trimmed(pictures: Picture, rng: np.random.Generator) -> Picture:
    kept = max(4, round(len(pictures) * rng.uniform(0.5, 0.8)))
    start = rng.integers(0, len(pictures) - kept + 1)
    return _whole(pictures[start : start + kept], rng)


COPIES: dict[str, Callable[[Picture, np.random.Generator], Picture]] = {
    "re-encode": _whole,
    "10 % crop": _cropped,
    "flip": lambda pictures, rng: _whole(pictures, rng)[:, :, ::-1],
    "upside down": lambda pictures, rng: _whole(pictures, rng)[:, ::-1],
    "trim": _trimmed,
    "speed": lambda pictures, rng: _whole(pictures, rng)[:: int(rng.integers(2, 4))],
    "logo": _with_logo,
}
NOISE = 0.06  # of a standard deviation: what coding again does to a pixel of a hash


def planted(count: int, copies: int, real: np.ndarray, seed: int) -> Planted:
    """`count` clips; `copies` of them are copies of as many others, all in random order."""
    rng = np.random.default_rng(seed)
    kinds = [list(COPIES)[number % len(COPIES)] for number in range(copies)]
    shape = root(general_covariance(LARGE))
    made: list[np.ndarray] = []
    for start in range(0, copies, 64):
        for kind, film in zip(kinds[start : start + 64], drifting(min(64, copies - start), shape, rng), strict=True):
            pictures = film[: rng.integers(SHORTEST, LONGEST + 1)].reshape(-1, LARGE, LARGE)
            palette = np.tile(rng.normal(0, 12, (1, 2)), GRID * GRID)  # of one colour, so that turning leaves it
            for shown in (_whole(pictures, rng), COPIES[kind](pictures, rng)):
                luma = shown.reshape(len(shown), -1)
                noisy = luma + NOISE * luma.std() * rng.standard_normal(luma.shape)
                made.append(packed(noisy, np.repeat(palette, len(shown), axis=0)))
    others = clips(count - 2 * copies, real, rng)
    counts = np.concatenate([others.counts, [len(hashes) for hashes in made]])
    everything = film_of(np.concatenate([others.frames, *made]), counts)
    order = rng.permutation(count)
    place = np.argsort(order)
    first = place[len(others) + 2 * np.arange(copies)]
    second = place[len(others) + 2 * np.arange(copies) + 1]
    return Planted(reordered(everything, order), first, second, kinds)


def reordered(film: ClipHashes, order: np.ndarray) -> ClipHashes:
    counts = film.counts[order]
    starts = np.cumsum(counts) - counts
    at = np.repeat(film.starts[order] - starts, counts) + np.arange(counts.sum())
    return film_of(film.frames[at], counts)


# -- the steps -----------------------------------------------------------------------------------------------------------


def real_hashes() -> np.ndarray:
    """Hashes uint8 [n, 88] of frames of real footage, two a second."""
    hashes = []
    for path in FOOTAGE:
        due = 0.0
        for frame in read(path):
            if frame.pts_s >= due:
                due += 0.5
                hashes.append(frame_hash(frame.thumb_rgb(), frame.gray()))
    return np.frombuffer(pack(filter(None, hashes)), np.uint8).reshape(-1, HASH_BYTES)


def kept(*files: Path) -> Path:
    """The folder for what was made or found from `files` as they are now."""
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    folder = Path(tempfile.gettempdir()) / f"duplicates-scale-{digest[:16]}"
    folder.mkdir(exist_ok=True)
    return folder


def made_file(count: int) -> Path:
    return kept(*MADE_BY) / f"{count}.{COPIES_MADE}.{SEED}.npz"


def make(count: int) -> dict[str, Any]:
    """Hashes of `count` clips with copies among them, kept as a file."""
    made = planted(count, min(COPIES_MADE, count // 5), real_hashes(), SEED)
    part = made_file(count).with_suffix(".part.npz")
    names = {"originals": made.originals, "copies": made.copies, "kinds": made.kinds}
    np.savez(part, frames=made.film.frames, counts=made.film.counts, **names)
    part.replace(made_file(count))
    return {}


def made(count: int) -> Planted:
    with np.load(made_file(count)) as arrays:
        film = film_of(arrays["frames"], arrays["counts"])
        return Planted(film, arrays["originals"], arrays["copies"], arrays["kinds"].tolist())


def usual(count: int) -> dict[str, Any]:
    """Time, recall by kind and false pairs among `count` clips."""
    planted = made(count)
    figures, pairs = compared(lambda: near_pairs(planted.film))
    near, copies = numbers(pairs.first, pairs.second, count), numbers(planted.originals, planted.copies, count)
    np.save(kept(*FOUND_BY) / f"{count}.pairs.npy", near)
    hit, kinds = np.isin(copies, near), np.array(planted.kinds)
    return figures | {
        "frames": len(planted.film.frames),
        "recall": {kind: share(hit[kinds == kind]) for kind in dict.fromkeys(planted.kinds)},
        "false_pairs": int((~np.isin(near, copies)).sum()),
        "clips_not_searched_to_the_end": pairs.unfinished,
    }


def new_day(count: int) -> dict[str, Any]:
    """A hundredth of the clips against all, and whether that finds what all at once found."""
    planted = made(count)
    fresh = np.zeros(count, bool)
    fresh[np.random.default_rng(SEED).choice(count, count // 100, replace=False)] = True
    figures, pairs = compared(lambda: near_pairs(planted.film, fresh))
    everything = np.load(kept(*FOUND_BY) / f"{count}.pairs.npy")
    wanted = everything[fresh[everything // count] | fresh[everything % count]]
    near = numbers(pairs.first, pairs.second, count)
    return figures | {
        "pairs": len(near),
        "of_all_at_once_missed": int((~np.isin(wanted, near)).sum()),
        "beyond_all_at_once": int((~np.isin(near, wanted)).sum()),
    }


def share(hit: np.ndarray) -> dict[str, float]:
    """The share found, and the lower end of its 95 % interval."""
    n, p, z = len(hit), float(hit.mean()), 1.96
    least = (p + z * z / (2 * n) - z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))) / (1 + z * z / n)
    return {"copies": n, "found": round(p, 4), "at_least": round(float(least), 4)}


def crowd(count: int) -> dict[str, Any]:
    """The same where everybody shows one title card; half of the clips have footage of their own too."""
    some = planted(count // 2, CROWD_COPIES, real_hashes(), SEED)
    rng, shown = np.random.default_rng(SEED), 12  # frames of the card
    card = rng.normal(0, 1, (1, SIDE * SIDE))
    luma = np.repeat(card, count * shown, axis=0) + rng.normal(0, 0.06, (count * shown, card.size))
    cards = packed(luma, np.zeros((count * shown, 32))).reshape(count, shown, -1)
    own = np.split(some.film.frames, some.film.starts[1:])
    clips = [np.concatenate([cards[clip][: len(frames) // 3], frames]) for clip, frames in enumerate(own)]
    clips += list(cards[len(own) :])
    film = film_of(np.concatenate(clips), np.array([len(frames) for frames in clips]))
    figures, pairs = compared(lambda: near_pairs(film))
    near, copies = numbers(pairs.first, pairs.second, count), numbers(some.originals, some.copies, count)
    alone = np.arange(len(own) + 1, count)
    return figures | {
        "pairs": len(near),
        "pairs_that_all_with_all_would_be": count * (count - 1) // 2,
        "recall_of_copies_beside_the_card": round(float(np.isin(copies, near).mean()), 4),
        "card_alone_found_near_an_earlier_one": round(float(np.isin(alone, np.unique(pairs.second)).mean()), 4),
        "clips_not_searched_to_the_end": pairs.unfinished,
    }


def compared(work: Callable[[], Pairs]) -> tuple[dict[str, Any], Pairs]:
    pairs, spent = timed(work)
    return {name: round(seconds, 1) for name, seconds in spent.items()} | {"pairs_compared": pairs.compared}, pairs


def numbers(a: np.ndarray, b: np.ndarray, count: int) -> np.ndarray:
    """Each pair of clips as one number."""
    return np.minimum(a, b) * count + np.maximum(a, b)


def run(step: str, count: int) -> dict[str, Any]:
    """The figures of a step, run if they are not kept."""
    file = kept(*FOUND_BY) / f"{step}.{count}.json"
    if not file.exists():
        figures = answer_of([sys.executable, "-m", "tests.benchmarks.duplicates_scale", step, str(count)])
        part = file.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(figures))
        part.replace(file)
    return json.loads(file.read_text())


def at(count: int) -> dict[str, Any]:
    if not made_file(count).exists():
        run("make", count)
    return run("usual", count) | {"new_day": run("new_day", count)}


def duplicates_scale(sizes: tuple[int, ...] = SIZES) -> dict[str, Any]:
    clips = {str(count): at(count) for count in sizes}
    least = min((kind["found"], kind["at_least"]) for each in clips.values() for kind in each["recall"].values())
    figures = {
        "clips": clips,
        "all_share_one_card": {str(CROWD): run("crowd", CROWD)},
        "least_recall": {"found": least[0], "at_least": least[1]},
        "accepted": {"clips": GOAL_CLIPS, "wall_s": GOAL_S, "peak_mib": GOAL_MIB, "recall": GOAL_RECALL},
    }
    if GOAL_CLIPS not in sizes:
        return figures | {str(GOAL_CLIPS): "not measured in this run"}
    largest = clips[str(GOAL_CLIPS)]
    return figures | {
        "within": {
            "wall": largest["wall_s"] <= GOAL_S,
            "cpu_of_two_cores": largest["cpu_s"] <= 2 * GOAL_S,
            "cpu_of_one_core": largest["cpu_s"] <= GOAL_S,
            "peak": largest["peak_mib"] <= GOAL_MIB,
            "recall": least[0] >= GOAL_RECALL,
        },
    }


if __name__ == "__main__":  # one step, in a process of its own
    steps = {"make": make, "usual": usual, "new_day": new_day, "crowd": crowd}
    print(json.dumps(steps[sys.argv[1]](int(sys.argv[2])) | {"peak_mib": int(peak_mib())}))
