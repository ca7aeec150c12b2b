"""What comparing very many clips costs, what it finds, and what in crowds. Hashes are synthetic (`many_clips`).

Each step is a process of its own, so that its memory is its own; making the hashes is a step too and is not in the
figures. `planted` copies are known, a thousand of a kind where a fifth of the clips are as many, and a share found is
given with the lower end of its 95 % interval (Wilson); whatever else is found near is false. `crowd` clips are the
hard case: as many that all show one title card, coded each for itself, half of them with footage of their own beside
it, of which a known few are copies. `new day` compares a hundredth of the clips with all. CPU seconds are those of
the process, whose threads use both cores; wall times are those of whatever else the machine did. What a step made or
found is kept under the digest of what it was made from, so that a run that was stopped goes on where it was. `python
-m tests.benchmarks duplicates_scale --sizes 10000 100000` measures these sizes alone, and says that a million was not
measured.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from assets.curation.dedup.candidate_pairs import Pairs
    from tests.benchmarks.many_clips import Planted

FOOTAGE = [Path(".vendor/footage") / name for name in ("bikes.mp4", "crew.mp4", "city.mpg", "park.mp4")]
SIZES = (10_000, 100_000, 1_000_000)
CROWD = 10_000
COPIES, CROWD_COPIES, SEED = 7000, 2100, 11
GOAL_S, GOAL_CLIPS, GOAL_RECALL, GOAL_MIB = 900, 1_000_000, 0.95, 12 * 1024
MADE_BY = ("tests/benchmarks/many_clips.py", "assets/signals/phash.py")
FILES = ("candidates", "codes", "crowds", "glance", "likeness", "lookup")
FOUND_BY = (*MADE_BY, *(f"assets/curation/dedup/{name}.py" for name in FILES))
RUN = "import sys; from tests.benchmarks.duplicates_scale import alone; alone(*sys.argv[1:])"


def real_hashes() -> np.ndarray:
    """Hashes uint8 [n, 88] of frames of real footage, two a second."""
    from assets.signals.frames import read
    from assets.signals.phash import HASH_BYTES, frame_hash, pack

    found = []
    for path in FOOTAGE:
        due = 0.0
        for frame in read(path):
            if frame.pts_s >= due:
                due += 0.5
                found.append(frame_hash(frame.thumb_rgb(), frame.glance))
    return np.frombuffer(pack(one for one in found if one), np.uint8).reshape(-1, HASH_BYTES)


def kept(*files: str) -> Path:
    """Where steps keep what they made or found from `files` as they are now."""
    digest = hashlib.sha256(b"".join(Path(name).read_bytes() for name in files)).hexdigest()
    folder = Path(tempfile.gettempdir()) / f"duplicates-scale-{digest[:16]}"
    folder.mkdir(exist_ok=True)
    return folder


def make(count: int) -> dict[str, Any]:
    """Hashes of `count` clips with copies among them, kept as a file."""
    from tests.benchmarks.many_clips import planted

    made = planted(count, min(COPIES, count // 5), real_hashes(), SEED)
    part = kept(*MADE_BY) / f"{count}.part.npz"
    np.savez(
        part,
        frames=made.film.frames,
        counts=made.film.counts,
        originals=made.originals,
        copies=made.copies,
        kinds=made.kinds,
    )
    part.replace(made_file(count))
    return {}


def made_file(count: int) -> Path:
    return kept(*MADE_BY) / f"{count}.{COPIES}.{SEED}.npz"


def made(count: int) -> Planted:
    from tests.benchmarks.many_clips import Planted, film_of

    with np.load(made_file(count)) as found:
        return Planted(
            film_of(found["frames"], found["counts"]), found["originals"], found["copies"], found["kinds"].tolist()
        )


def usual(count: int) -> dict[str, Any]:
    """Time, recall by kind and false pairs among `count` clips."""
    from assets.curation.dedup.candidate_pairs import near_pairs

    planted = made(count)
    figures, pairs = timed(lambda: near_pairs(planted.film))
    found, copies = numbers(pairs, count), planted_pairs(planted)
    np.save(kept(*FOUND_BY) / f"{count}.pairs.npy", found)
    hit, kinds = np.isin(copies, found), np.array(planted.kinds)
    return figures | {
        "frames": len(planted.film.frames),
        "recall": {kind: share(hit[kinds == kind]) for kind in dict.fromkeys(planted.kinds)},
        "false_pairs": int((~np.isin(found, copies)).sum()),
        "clips_not_searched_to_the_end": pairs.unfinished,
    }


def new_day(count: int) -> dict[str, Any]:
    """A hundredth of the clips against all, and whether that finds what all at once found."""
    from assets.curation.dedup.candidate_pairs import near_pairs

    planted = made(count)
    fresh = np.zeros(count, bool)
    fresh[np.random.default_rng(SEED).choice(count, count // 100, replace=False)] = True
    figures, pairs = timed(lambda: near_pairs(planted.film, fresh))
    found = np.load(kept(*FOUND_BY) / f"{count}.pairs.npy")
    wanted = found[fresh[found // count] | fresh[found % count]]
    got = numbers(pairs, count)
    return figures | {
        "pairs": len(got),
        "of_all_at_once_missed": int((~np.isin(wanted, got)).sum()),
        "beyond_all_at_once": int((~np.isin(got, wanted)).sum()),
    }


def share(hit: np.ndarray) -> dict[str, float]:
    """The share found, and the lower end of its 95 % interval."""
    n, p, z = len(hit), float(hit.mean()), 1.96
    least = (p + z * z / (2 * n) - z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))) / (1 + z * z / n)
    return {"copies": n, "found": round(p, 4), "at_least": round(float(least), 4)}


def planted_pairs(planted: Planted) -> np.ndarray:
    first, second = planted.originals, planted.copies
    return np.minimum(first, second) * len(planted.film) + np.maximum(first, second)


def crowd(count: int) -> dict[str, Any]:
    """The same where everybody shows one title card; half of the clips have footage of their own too."""
    from assets.curation.dedup.candidate_pairs import near_pairs
    from tests.benchmarks.many_clips import film_of, packed, planted

    some = planted(count // 2, CROWD_COPIES, real_hashes(), SEED)
    rng = np.random.default_rng(SEED)
    card = rng.normal(0, 1, (1, 144))
    shown = 12  # frames of the card
    luma = np.repeat(card, count * shown, axis=0) + rng.normal(0, 0.06, (count * shown, card.size))
    noisy = packed(luma, np.zeros((count * shown, 32)))
    cards = noisy.reshape(count, shown, -1)
    own = np.split(some.film.frames, some.film.starts[1:])
    clips = [np.concatenate([cards[clip][: len(frames) // 3], frames]) for clip, frames in enumerate(own)]
    clips += list(cards[len(own) :])
    film = film_of(np.concatenate(clips), np.array([len(one) for one in clips]))
    figures, pairs = timed(lambda: near_pairs(film))
    found = numbers(pairs, count)
    first, second = some.originals, some.copies
    copies = np.minimum(first, second) * count + np.maximum(first, second)
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


def alone(step: str, count: str) -> None:
    """One step, in a process of its own; its figures as JSON on standard output."""
    figures = {"make": make, "usual": usual, "new_day": new_day, "crowd": crowd}[step](int(count))
    peak = next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    print(json.dumps(figures | {"peak_mib": int(peak) // 1024}))


def run(step: str, count: int) -> dict[str, Any]:
    """The figures of a step, run if they are not kept."""
    file = kept(*FOUND_BY) / f"{step}.{count}.json"
    if not file.exists():
        found = subprocess.run([sys.executable, "-c", RUN, step, str(count)], stdout=subprocess.PIPE, check=True)
        part = file.with_suffix(f".{os.getpid()}")
        part.write_bytes(found.stdout.splitlines()[-1])
        part.replace(file)
    return json.loads(file.read_text())


def at(count: int) -> dict[str, Any]:
    if not made_file(count).exists():
        run("make", count)
    return run("usual", count) | {"new_day": run("new_day", count)}


def duplicates_scale(sizes: tuple[int, ...] = SIZES) -> dict[str, Any]:
    found = {str(count): at(count) for count in sizes}
    least = min((kind["found"], kind["at_least"]) for one in found.values() for kind in one["recall"].values())
    figures = {
        "clips": found,
        "all_share_one_card": {str(CROWD): run("crowd", CROWD)},
        "least_recall": {"found": least[0], "at_least": least[1]},
        "accepted": {"clips": GOAL_CLIPS, "wall_s": GOAL_S, "peak_mib": GOAL_MIB, "recall": GOAL_RECALL},
    }
    if GOAL_CLIPS not in sizes:
        return figures | {str(GOAL_CLIPS): "not measured in this run"}
    largest = found[str(GOAL_CLIPS)]
    return figures | {
        "within": {
            "wall": largest["wall_s"] <= GOAL_S,
            "cpu_of_two_cores": largest["cpu_s"] <= 2 * GOAL_S,
            "cpu_of_one_core": largest["cpu_s"] <= GOAL_S,
            "peak": largest["peak_mib"] <= GOAL_MIB,
            "recall": least[0] >= GOAL_RECALL,
        },
    }
