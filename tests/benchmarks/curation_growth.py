"""How the cost of curation grows with the number of clips: measuring them, and all that comes after.

Measured are short clips of real footage, all different, at 256 x 144, where opening a file and telling its shots weighs
most. What comes after (the lake, verdicts, captions) works on rows, which are those of a made-up corpus. Duplicates are
looked for among the first thousand alone: beyond, so many clips of so little footage would be copies of each other, and
`duplicates_scale` has more.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

FOOTAGE, FACES = Path(".vendor/footage"), Path(".vendor/yunet.onnx")
SOURCES = ("bikes.mp4", "snow.mp4", "crew.mp4", "park.mp4", "city.mpg")
SIZE, FRAMES = (256, 144), 12
LARGER = (288, 162)  # what the pictures of a clip are cut from
MEASURED, COMPARED, DECIDED = (100, 1_000, 10_000), (100, 1_000), (100, 1_000, 10_000)
CLIPS_A_DAY = 100


def growth() -> dict[str, Any]:
    """CPU milliseconds a clip, at each number of clips."""
    with tempfile.TemporaryDirectory() as folder:
        measuring, shots = measured(Path(folder))
        compared(shots[:2]), decided(Path(folder) / "first", CLIPS_A_DAY)  # imports are no clip's cost
        return {
            "frames_a_clip": FRAMES,
            "measuring": measuring,
            "finding_duplicates": {str(n): a_clip(lambda n=n: compared(shots[:n]), n) for n in COMPARED},
            "rows_verdicts_captions": {
                str(n): a_clip(lambda n=n: decided(Path(folder) / str(n), n), n) for n in DECIDED
            },
        }


def a_clip(work: Callable[[], Any], clips: int) -> float:
    started = time.process_time()
    work()
    return round(1e3 * (time.process_time() - started) / clips, 3)


def measured(folder: Path) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """The cost of the pass by the number of clips, and the first shot of each."""
    from assets.signals.measure import measure

    spent, shots, found = 0.0, [], {}
    for number, film in enumerate(short_films(folder, max(MEASURED))):
        if not number:
            measure(film, FACES)  # imports and weights are no clip's cost
        started = time.process_time()
        shot = measure(film, FACES)["shots"][0]
        spent += time.process_time() - started
        film.unlink()
        if number < max(COMPARED):
            shots.append(shot)
        if number + 1 in MEASURED:
            found[str(number + 1)] = round(1e3 * spent / (number + 1), 2)
    return found, shots


def short_films(folder: Path, count: int) -> Iterator[Path]:
    """Clips that begin at different frames of the sources, and after these at the same ones, of other parts of them."""
    import av

    pictures: list[np.ndarray] = []
    for name in SOURCES:
        with av.open(str(FOOTAGE / name)) as container:
            pictures += [picture.reformat(*LARGER, "rgb24").to_ndarray() for picture in container.decode(video=0)]
    starts = len(pictures) - FRAMES
    for number in range(count):
        first = round(number * starts / min(count, starts)) % starts
        lap = number // starts
        left, top = 5 * lap % (LARGER[0] - SIZE[0]), 3 * lap % (LARGER[1] - SIZE[1])
        shown = [one[top : top + SIZE[1], left : left + SIZE[0]] for one in pictures[first : first + FRAMES]]
        yield short_film(shown, folder / f"{number}.mp4")


def short_film(pictures: Sequence[np.ndarray], path: Path) -> Path:
    import av
    import numpy as np

    with av.open(str(path), "w") as target:
        stream = target.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for at, shown in enumerate(pictures):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(shown), format="rgb24")
            picture.pts, picture.time_base = at, Fraction(1, 25)
            target.mux(stream.encode(picture))
        target.mux(stream.encode(None))
    return path


def compared(shots: Sequence[dict[str, Any]]) -> None:
    from assets.curation.dedup.groups import HashedClip, find_duplicates
    from assets.signals.phash import pack

    find_duplicates(
        HashedClip(shot["clip_id"], str(at), 0, None, ("", "", "", at), pack(shot["signals"]["frame_phashes"]))
        for at, shot in enumerate(shots)
    )


def decided(folder: Path, clips: int) -> None:
    """Write the rows of as many clips, decide every check on them, and tell them in words."""
    from assets.curation.captioning.structured import Facts, caption_rows
    from assets.curation.policy.policy import POLICY
    from assets.curation.policy.replay import replay
    from assets.curation.policy.verdicts import by_clip
    from assets.home import Home
    from tests.assets.curation.corpus import write_corpus

    home = Home.local(folder)
    for day in write_corpus(home, clips // CLIPS_A_DAY, CLIPS_A_DAY):
        items = {row["item_id"]: row for row in home.lake.rows("delivery_items", day)}
        signals = by_clip(home.lake.rows("signals", day))
        rows = []
        for shot in home.lake.rows("shots", day):
            rows += caption_rows(Facts(shot, items[shot["item_id"]], signals[shot["item_id"], shot["shot_index"]], {}))
        home.lake.write("captions", rows, day)
    replay(home, POLICY, write=True)
