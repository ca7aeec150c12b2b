"""What curation costs over a large corpus: measuring, deciding again, searching captions, weighing classes.

Where rows suffice they are made up, and vectors are random: no film of a million clips is at hand.
"""

from __future__ import annotations

import itertools
import os
import resource
import tempfile
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa

from assets.coverage.classes import POLICY as CLASSES
from assets.coverage.classes import classes_of, leaders
from assets.coverage.measures import Coded, effective_number
from assets.coverage.sampling_weights import balance, caps_of
from assets.curation.captioning.embeddings import BLOCK_ROWS, nearest
from assets.curation.dedup.groups import HashedClip, find_duplicates
from assets.curation.policy.policy import POLICY
from assets.curation.policy.policy_overrides import tuned
from assets.curation.policy.replay import replay as decide
from assets.home import Home
from assets.lake import parquet_bytes
from assets.signals.phash import pack
from assets.signals.single_pass import measure
from assets.tables import TABLES
from tests.assets.curation.corpus import write_corpus
from tests.benchmarks.harness import cpu_of, timed
from tests.benchmarks.large_home import tell
from tests.benchmarks.signals import encode
from training.data.packing import Item, plan

VENDOR = Path(".vendor")


def peak_rss_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


# -- deciding again under another policy, beside what decoding would cost ------------------------------------------------

DAY_CLIPS = 1_000
STRICTER = {"sharpness": {"low": 20}, "motion": {"low": 0.002}}


def replay(clips: int = 100_000) -> dict[str, Any]:
    """Figures over a corpus of rows. Decoding is one pass over a real clip of 5 s at 1080p, times the number of clips."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home.local(Path(folder) / "home")
        days = write_corpus(home, clips // DAY_CLIPS, DAY_CLIPS)
        first, deciding = timed(lambda: decide(home, POLICY, write=True))
        changes, looking = timed(lambda: decide(home, tuned(STRICTER)))
        _, changing = timed(lambda: decide(home, tuned(STRICTER), write=True))
        back, returning = timed(lambda: decide(home, POLICY, write=True))
        peak_mib = peak_rss_mib()  # of writing the corpus and of all replays
        film = encode("volcano.mp4", 0, 150, Path(folder) / "film.mp4")
        decode_s = cpu_of(lambda: measure(film, None)) * clips
    return {
        "clips": clips,
        "days": len(days),
        "checks": len(POLICY.checks),
        "deciding_for_the_first_time": deciding,
        "what_would_change": looking | {"changed": {change.check: change.newly_failing for change in changes.checks}},
        "changing_it": changing,
        "going_back": returning | {"tables_as_at_first": back.days_written == first.days_written},
        "decoding_instead_cpu_s": round(decode_s),
        "decoding_over_looking": round(decode_s / looking["cpu_s"]),
        "peak_mib": peak_mib,
    }


# -- an exact search over captions, in blocks, from the lake's own files -------------------------------------------------

DAYS, WIDTH, RUNS, TOP = 20, 384, 3, 10
MODEL = "benchmark"


def caption_search(clips: int = 1_000_000) -> dict[str, Any]:
    """The bare product is the least that any exact search does: the same vectors, in memory already, times one query."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as folder:
        home = Home.local(Path(folder))
        write_embeddings(home, clips)
        query = np.random.default_rng(99).standard_normal(WIDTH).astype(np.float32)
        query /= np.linalg.norm(query)
        before = peak_rss_mib()
        times = [timed(lambda: nearest(home, query, MODEL, TOP))[1] for _ in range(RUNS)]
        peak = peak_rss_mib()
        wall, cpu = (min(each[name] for each in times) for name in ("wall_s", "cpu_s"))
        block = np.random.default_rng(0).standard_normal((BLOCK_ROWS, WIDTH), dtype=np.float32)
        products = min(cpu_of(lambda: [block @ query for _ in range(10)]) for _ in range(RUNS))
        bare = products / 10 * clips / BLOCK_ROWS
        return {
            "clips": clips,
            "search_wall_s": wall,
            "search_cpu_s": cpu,
            "bare_product_cpu_s": round(bare, 3),
            "cpu_ratio_to_bare_product": round(cpu / bare, 1),
            "load_average_over_cores": round(os.getloadavg()[0] / (os.cpu_count() or 1), 1),
            "peak_rss_mib": peak,
            "peak_rss_beyond_filling_mib": peak - before,
            "embeddings_mib": round(sum(path.stat().st_size for path in Path(folder).rglob("part.parquet")) / 2**20),
        }


def write_embeddings(home: Home, clips: int) -> None:
    """Random unit vectors as the rows of `embeddings`, written as the lake writes them but for the check of each row."""
    for day in range(DAYS):
        rng, count, date = np.random.default_rng(day), clips // DAYS, f"2026-10-{day + 1:02d}"
        vectors = rng.standard_normal((count, WIDTH), dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        ids = [f"{day:02d}{number:062x}" for number in range(count)]
        columns = {
            "clip_id": ids,
            "item_id": [f"i-{name}" for name in ids],
            "shot_index": np.zeros(count, np.int64),
            "received_day": [date] * count,
            "captioner": ["structured/2"] * count,
            "variant": np.zeros(count, np.int64),
            "model": [MODEL] * count,
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), WIDTH),
        }
        path = home.state / home.lake.key("embeddings", date)
        path.parent.mkdir(parents=True)
        path.write_bytes(parquet_bytes(pa.table(columns, schema=TABLES["embeddings"].schema)))


# -- weighing clips: classes to weights, subjects by meaning, the plan of an epoch ---------------------------------------

SIZES = (100_000, 1_000_000)
OPEN = {  # dimension: classes, tail
    "subject": (512, 1.4),
    "place": (5_000, 1.3),
    "country": (120, 1.5),
    "contributor": (20_000, 1.3),
}
TEXTS, TOPICS, PLANNED = 100_000, 400, 100_000


def diversity() -> dict[str, Any]:
    """Classes are long-tailed as those of real footage. Linear: ten times the clips in about ten times the CPU seconds."""
    figures: dict[str, Any] = {f"{size}_clips": weighed(size) for size in SIZES}
    small, large = (figures[f"{size}_clips"]["weigh_cpu_s"] for size in SIZES)
    return figures | {
        "cpu_for_ten_times_the_clips": round(large / small, 2),
        "naming": named(),
        "subjects": clustered(),
        "epoch_plan": planned(),
        "peak_memory_mib": peak_rss_mib(),
    }


def world(size: int) -> dict[str, Coded]:
    rng = np.random.default_rng(0)
    coded = {}
    for name, (classes, tail) in OPEN.items():
        coded[name] = Coded(tuple(f"{name} {i}" for i in range(classes)), np.minimum(classes, rng.zipf(tail, size)) - 1)
    for name, words in CLASSES.closed().items():
        shares = 0.5 ** np.arange(len(words))
        coded[name] = Coded(words, rng.choice(len(words), size, p=shares / shares.sum()))
    return coded


def weighed(size: int) -> dict[str, Any]:
    dimensions = world(size)
    weights, spent = timed(lambda: balance(dimensions))
    caps = caps_of(dimensions)
    return {
        "weigh_cpu_s": spent["cpu_s"],
        "least": round(float(weights.ratios.min()), 3),
        "most": round(float(weights.ratios.max()), 3),
        "caps_not_reached": dict(weights.unmet),
        "effect": {name: effect(coded, weights.ratios, caps.get(name)) for name, coded in dimensions.items()},
    }


def effect(coded: Coded, ratios: np.ndarray, cap: float | None) -> dict[str, Any]:
    sums = coded.sums(), coded.sums(ratios)
    return {
        "effective_classes": [round(effective_number(each), 2) for each in sums],
        "largest_share": [round(float(each.max() / each.sum()), 4) for each in sums],
        "cap": cap,
    }


def named() -> dict[str, Any]:
    """The classes of a clip from its rows, a million times."""
    item = {"declared_location": "Rue Haute, Brussels, Belgium", "declared_time_of_day": "dusk", "contributor_id": "c"}
    signals = {"width": 1920, "height": 1080, "motion_diag_per_s": 0.03, "camera_motion": "pan"}

    def name_all() -> None:
        for _ in range(SIZES[-1]):
            classes_of(item, signals, 5.0, {"location": "pass"}, "a tram")

    return {"clips": SIZES[-1], "cpu_s": round(cpu_of(name_all), 2)}


def clustered() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    topics = rng.normal(size=(TOPICS, WIDTH)).astype(np.float32)
    vectors = topics[rng.integers(TOPICS, size=TEXTS)] + 0.6 * rng.normal(size=(TEXTS, WIDTH)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    subjects, spent = timed(lambda: leaders(vectors))
    return {"texts": TEXTS, "subjects": len(set(subjects.tolist())), "cpu_s": spent["cpu_s"]}


def planned() -> dict[str, Any]:
    """An epoch of weighted clips beside one of even ones, in one run: the ratio is the cost of weights."""
    weights = balance(world(PLANNED)).weights.tolist()
    items = [Item(f"clip-{i:07}", 80) for i in range(PLANNED)]
    even = cpu_of(lambda: plan(items, 1280, 0, 0))
    items = [Item(item.clip_id, 80, (), weight) for item, weight in zip(items, weights, strict=True)]
    weighted = cpu_of(lambda: plan(items, 1280, 0, 0))
    seconds = {"even_cpu_s": round(even, 2), "weighted_cpu_s": round(weighted, 2)}
    return {"clips": PLANNED, **seconds, "weighted_to_even": round(weighted / even, 2)}


# -- how the cost of curation grows with the number of clips (a part of the benchmark `curation`) ------------------------

SOURCES = ("bikes.mp4", "snow.mp4", "crew.mp4", "park.mp4", "city.mpg")
SIZE, FRAMES = (256, 144), 12
LARGER = (288, 162)  # what the pictures of a clip are cut from
MEASURED, COMPARED, DECIDED = (100, 1_000, 10_000), (100, 1_000), (100, 1_000, 10_000)
CLIPS_A_DAY = 100


def growth() -> dict[str, Any]:
    """CPU milliseconds a clip, at each number of clips.

    Measured are short clips of real footage, all different, at 256 x 144, where opening a file and finding its shots
    weigh most. Duplicates are looked for among the first thousand alone: beyond, so many clips of so little footage
    would be copies of each other, and `duplicates_scale` has more.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measuring, shots = measured(folder)
        compared(shots[:2]), decided(folder / "first", CLIPS_A_DAY)  # imports are no clip's cost

        def a_clip(work: Callable[[], Any], clips: int) -> float:
            return round(1e3 * cpu_of(work) / clips, 3)

        return {
            "frames_a_clip": FRAMES,
            "measuring": measuring,
            "finding_duplicates": {str(n): a_clip(lambda n=n: compared(shots[:n]), n) for n in COMPARED},
            "rows_verdicts_captions": {str(n): a_clip(lambda n=n: decided(folder / str(n), n), n) for n in DECIDED},
        }


def measured(folder: Path) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """The cost of the pass by the number of clips, and the first shot of each."""
    faces, films = VENDOR / "yunet.onnx", short_films(folder, max(MEASURED))
    first = next(films)
    measure(first, faces)  # imports and weights are no clip's cost
    spent = 0.0
    shots: list[dict[str, Any]] = []
    figures: dict[str, float] = {}
    for number, film in enumerate(itertools.chain([first], films), 1):
        spent += cpu_of(lambda film=film: shots.append(measure(film, faces)["shots"][0]))
        del shots[max(COMPARED) :]
        film.unlink()
        if number in MEASURED:
            figures[str(number)] = round(1e3 * spent / number, 2)
    return figures, shots


def short_films(folder: Path, count: int) -> Iterator[Path]:
    """Clips that begin at different frames of the sources, and after these at the same ones, of other parts of them."""
    pictures: list[np.ndarray] = []
    for name in SOURCES:
        with av.open(str(VENDOR / "footage" / name)) as container:
            pictures += [picture.reformat(*LARGER, "rgb24").to_ndarray() for picture in container.decode(video=0)]
    starts = len(pictures) - FRAMES
    for number in range(count):
        first, lap = round(number * starts / min(count, starts)) % starts, number // starts
        left, top = 5 * lap % (LARGER[0] - SIZE[0]), 3 * lap % (LARGER[1] - SIZE[1])
        shown = [picture[top : top + SIZE[1], left : left + SIZE[0]] for picture in pictures[first : first + FRAMES]]
        yield short_film(shown, folder / f"{number}.mp4")


def short_film(pictures: Sequence[np.ndarray], path: Path) -> Path:
    with av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number, shown in enumerate(pictures):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(shown), format="rgb24")
            picture.pts, picture.time_base = number, Fraction(1, 25)
            target.mux(stream.encode(picture))
        target.mux(stream.encode(None))
    return path


def compared(shots: Sequence[dict[str, Any]]) -> None:
    find_duplicates(
        HashedClip(shot["clip_id"], str(at), 0, None, ("", "", "", at), pack(shot["signals"]["frame_phashes"]))
        for at, shot in enumerate(shots)
    )


def decided(folder: Path, clips: int) -> None:
    """Write the rows of as many clips, decide every check on them, and caption them."""
    home = Home.local(folder)
    write_corpus(home, clips // CLIPS_A_DAY, CLIPS_A_DAY)
    tell(home)
    decide(home, POLICY, write=True)
