"""Sample videos as people see them: moving in the Dagster UI, marked in the MLflow run.

Belongs here: choosing and captioning. Drawing is `assets.pictures`'.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.evaluation.current import CurrentModel
from assets.evaluation.registry import Registry
from assets.home import Home
from assets.pictures import animated_webp, contact_sheet, markdown_image, markdown_table

if TYPE_CHECKING:
    import numpy as np

MOST_BYTES = 190_000  # of one metadata entry: the UI keeps it in its event log


@dataclass(frozen=True)
class Video:
    """`frames` are uint8 [T, H, W, 3]."""

    prompt: str
    frames: np.ndarray
    fps: float


def load_videos(home: Home, rows: Iterable[Mapping[str, Any]]) -> list[Video]:
    """The videos of rows of the table `samples`."""
    from training.video import read_frames

    return [Video(row["prompt"], *read_frames(home.store.fetch(row["media_key"]))) for row in rows]


def moving(videos: Sequence[Video]) -> str:
    """Markdown with as many animated videos as fit, each under its prompt."""
    parts, size = [], 0
    for video in videos:
        part = f"**{video.prompt}**\n\n{markdown_image(animated_webp(video.frames, video.fps), alt='sample')}"
        size += len(part)
        if size > MOST_BYTES:
            break
        parts.append(part)
    return "\n\n".join(parts) or "*none*"


def grid(videos: Sequence[Video]) -> bytes:
    """A WebP with the first, middle and last frame of every video."""
    frames = [frame for v in videos for frame in (v.frames[0], v.frames[len(v.frames) // 2], v.frames[-1])]
    captions = [text for video in videos for text in (video.prompt, "middle", "end")]
    return contact_sheet(frames, captions, columns=6)


def log_to_run(home: Home, registry: Registry, model: CurrentModel) -> None:
    """Put scores, marked sample videos and the table of scores into the model's MLflow run."""
    from assets.release.marks import mark_video

    scores = model.scores(home)
    registry.log_metrics(
        model.run_id,
        int(model.record["transformer"]["result"].get("steps", 0)),
        {f"scorecard/{row['metric']}/{row['slice']}": row["value"] for row in scores if row["value"] is not None},
    )
    with tempfile.TemporaryDirectory() as scratch:
        for row in model.samples(home):
            marked = Path(scratch) / f"{row['sample_id']}.mp4"
            mark_video(home.store.fetch(row["media_key"]), marked, model.claims, home.signing)
            registry.log_artifact(model.run_id, marked, "samples")
        for name, text in (
            ("scorecard.json", json.dumps(scores, indent=1, sort_keys=True)),
            ("scorecard.md", markdown_table(model.shown_scores(home))),
        ):
            (Path(scratch) / name).write_text(text + "\n")
            registry.log_artifact(model.run_id, Path(scratch) / name, "scorecard")
