"""What comparing very many clips costs, what it finds, and what it finds in crowds. Hashes are synthetic (`many_clips`).

Each run is a process of its own, so that its memory is its own. `planted` copies are known; whatever else is found near is
false. `crowd` clips are the hard case: as many that all show one title card, coded each for itself, half of them with
footage of their own beside it, of which a known few are copies. `new day` compares a hundredth of the clips with all.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from assets.curation.candidates import Pairs

FOOTAGE = [Path(".vendor/footage") / name for name in ("bikes.mp4", "crew.mp4", "city.mpg", "park.mp4")]
SIZES = (10_000, 100_000, 1_000_000)
CROWD, NEW_DAY_UP_TO = 10_000, 100_000
COPIES, SEED = 2100, 3
GOAL_S, GOAL_CLIPS = 900, 1_000_000
RUN = "import sys; from tests.benchmarks.duplicates_scale import alone; alone(*sys.argv[1:])"


def real_hashes() -> np.ndarray:
    """Hashes uint8 [n, 88] of frames of real footage, two a second."""
    from assets.curation.measuring.frames import read
    from assets.curation.phash import HASH_BYTES, frame_hash, pack

    found = []
    for path in FOOTAGE:
        due = 0.0
        for frame in read(path):
            if frame.pts_s >= due:
                due += 0.5
                found.append(frame_hash(frame.thumb_rgb(), frame.glance))
    return np.frombuffer(pack(one for one in found if one), np.uint8).reshape(-1, HASH_BYTES)


def usual(count: int, real: np.ndarray) -> dict[str, Any]:
    """Time, memory, recall by kind and false pairs among `count` clips."""
    from assets.curation.candidates import near_pairs
    from tests.benchmarks.many_clips import planted

    made = planted(count, COPIES, real, SEED)
    figures, pairs = timed(lambda: near_pairs(made.film))
    found = numbers(pairs, count)
    copies = np.minimum(made.originals, made.copies) * count + np.maximum(made.originals, made.copies)
    hit = np.isin(copies, found)
    kinds = np.array(made.kinds)
    figures |= {
        "frames": len(made.film.frames),
        "recall": {kind: round(float(hit[kinds == kind].mean()), 4) for kind in dict.fromkeys(made.kinds)},
        "false_pairs": int((~np.isin(found, copies)).sum()),
    }
    fresh = np.zeros(count, bool)
    fresh[np.random.default_rng(SEED).choice(count, count // 100, replace=False)] = True
    if count <= NEW_DAY_UP_TO:
        figures["new_day"], new = timed(lambda: near_pairs(made.film, fresh))
        wanted = found[fresh[found // count] | fresh[found % count]]
        figures["new_day"]["same_pairs_as_all_at_once"] = bool(np.array_equal(numbers(new, count), wanted))
    return figures


def crowd(count: int, real: np.ndarray) -> dict[str, Any]:
    """The same where everybody shows one title card; half of the clips have footage of their own too."""
    from assets.curation.candidates import near_pairs
    from tests.benchmarks.many_clips import film_of, packed, planted

    made = planted(count // 2, COPIES, real, SEED)
    rng = np.random.default_rng(SEED)
    card = rng.normal(0, 1, (1, 144))
    shown = 12  # frames of the card
    luma = np.repeat(card, count * shown, axis=0) + rng.normal(0, 0.06, (count * shown, card.size))
    noisy = packed(luma, np.zeros((count * shown, 32)))
    cards = noisy.reshape(count, shown, -1)
    own = np.split(made.film.frames, made.film.starts[1:])
    clips = [np.concatenate([cards[clip][: len(frames) // 3], frames]) for clip, frames in enumerate(own)]
    clips += list(cards[len(own) :])
    film = film_of(np.concatenate(clips), np.array([len(one) for one in clips]))
    figures, pairs = timed(lambda: near_pairs(film))
    found = numbers(pairs, count)
    copies = np.minimum(made.originals, made.copies) * count + np.maximum(made.originals, made.copies)
    alone = np.arange(len(own) + 1, count)
    followers = np.unique(pairs.second)
    return figures | {
        "pairs": len(found),
        "pairs_that_all_with_all_would_be": count * (count - 1) // 2,
        "recall_of_copies_beside_the_card": round(float(np.isin(copies, found).mean()), 4),
        "card_alone_found_near_an_earlier_one": round(float(np.isin(alone, followers).mean()), 4),
        "clips_not_searched_to_the_end": pairs.unfinished,
    }


def timed(work: Any) -> tuple[dict[str, Any], Pairs]:
    wall, cpu = time.monotonic(), time.process_time()
    pairs = work()
    spent = {"wall_s": round(time.monotonic() - wall, 1), "cpu_s": round(time.process_time() - cpu, 1)}
    return spent | {"pairs_compared": pairs.compared}, pairs


def numbers(pairs: Pairs, count: int) -> np.ndarray:
    """Each pair as one number."""
    return pairs.first * count + pairs.second


def alone(kind: str, count: str, hashes: str) -> None:
    """One run, in a process of its own; its figures as JSON on standard output."""
    figures = {"usual": usual, "crowd": crowd}[kind](int(count), np.load(hashes))
    peak = next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    print(json.dumps(figures | {"peak_mib": int(peak) // 1024}))


def run(kind: str, count: int, hashes: Path) -> dict[str, Any]:
    command = [sys.executable, "-c", RUN, kind, str(count), str(hashes)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def duplicates_scale() -> dict[str, Any]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        hashes = Path(folder) / "real.npy"
        np.save(hashes, real_hashes())
        found = {str(count): run("usual", count, hashes) for count in SIZES}
        crowded = run("crowd", CROWD, hashes)
    largest = found[str(GOAL_CLIPS)]
    return {
        "clips": found,
        "all_share_one_card": {str(CROWD): crowded},
        "accepted": {"clips": GOAL_CLIPS, "wall_s": GOAL_S, "peak_mib": 12 * 1024},
        "within": {"wall": largest["wall_s"] <= GOAL_S, "cpu_of_two_cores": largest["cpu_s"] <= 2 * GOAL_S},
    }
