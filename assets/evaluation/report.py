"""A model's samples and scores as people see them: on its pages in the Dagster UI and in its MLflow run.

Belongs here: choosing and captioning. Drawing is `assets.pages.plots`'. A contributor's pictures are shown in Dagster alone:
in MLflow they would be a copy that a withdrawal does not reach, so there a sample has a rendered scene beside it or none.
"""

from __future__ import annotations

import json
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assets.dataset import renditions
from assets.evaluation.current import CurrentModel
from assets.evaluation.headline import headline, measured, not_measured
from assets.evaluation.measuring import SCENE_SEEDS
from assets.evaluation.scorecards import shown
from assets.home import Home
from assets.pages.plots import animated_webp, beside, contact_sheet, markdown_image, markdown_table
from assets.registry.versions import Registry

if TYPE_CHECKING:
    import numpy as np

MOST_BYTES = 190_000  # of one metadata entry: the UI keeps it in its event log
HELD_OUT, RENDERED = "the held-out clip", "the rendered scene"
SHOWN_HEIGHT, QUALITY = 128, 35  # of moving samples: pixels, and what lets four of them fit
LETTERS = 28  # of a prompt, in a line below a picture of the grid
NOTE = "mlflow.note.content"  # the tag that MLflow shows as the description of a run


@dataclass(frozen=True)
class Video:
    """`frames` are uint8 [T, H, W, 3]; `truth` is a video of what the prompt says, where there is one."""

    prompt: str
    frames: np.ndarray
    fps: float
    truth: np.ndarray | None = None
    truth_is: str = ""  # what `truth` shows: a held-out clip, or a rendered scene


def load_videos(home: Home, model: CurrentModel) -> list[Video]:
    """The model's samples, held-out captions first, each with the real clip or the rendered scene of its prompt."""
    from training.data.video import read_frames

    videos = []
    for row in model.samples(home):
        frames, fps = read_frames(home.store.fetch(row["media_key"]))
        truth, truth_is = _truth(home, model, row["prompt"], frames, fps)
        videos.append(Video(row["prompt"], frames, fps, truth, truth_is))
    return sorted(videos, key=lambda video: video.truth_is != HELD_OUT)


def _truth(
    home: Home, model: CurrentModel, prompt: str, frames: np.ndarray, fps: float
) -> tuple[np.ndarray | None, str]:
    from safetensors.numpy import load

    for member in model.sealed.members:
        key = renditions.key(member["clip_id"])
        if member["split"] == "heldout" and member["caption"] == prompt and home.store.exists(key):
            return load(home.store.get(key))["frames"], HELD_OUT
    scene = rendered_scene(prompt, frames.shape, fps)
    return scene, RENDERED if scene is not None else ""


def rendered_scene(prompt: str, shape: tuple[int, ...], fps: float) -> np.ndarray | None:
    """What the prompt of a simulated scene shows, drawn at the sample's size; None for any other prompt."""
    from training.simulate import random_scene, render

    scene = next((scene for seed in SCENE_SEEDS if (scene := random_scene(seed)).caption() == prompt), None)
    return render(scene, shape[2], shape[1], shape[0], fps) if scene else None


def moving(videos: Sequence[Video]) -> str:
    """Markdown with as many animated videos as fit, each under its prompt, left of what the prompt says."""
    parts, size = [], 0
    for video in videos:
        frames = video.frames if video.truth is None else beside(video.frames, video.truth)
        said = f"**{video.prompt}**" + (f"  \nleft: generated; right: {video.truth_is}" if video.truth_is else "")
        shown_side = max(frames.shape[1:3]) * max(1, SHOWN_HEIGHT // frames.shape[1])
        part = f"{said}\n\n{markdown_image(animated_webp(frames, video.fps, shown_side, QUALITY), alt='sample')}"
        if size + len(part) > MOST_BYTES:
            break
        size += len(part)
        parts.append(part)
    return "\n\n".join(parts) or "*none*"


def grid(videos: Sequence[Video]) -> bytes:
    """A WebP with a row a video: its first, middle and last frame, then those of what its prompt says."""
    frames, captions = [], []
    for video in videos:
        for shown_frames, text in ((video.frames, video.prompt), (video.truth, video.truth_is)):
            if shown_frames is None:
                shown_frames, text = video.frames[:0], ""
            frames += _three(shown_frames, video.frames)
            captions += [textwrap.fill(text, LETTERS), "", ""]
    return contact_sheet(frames, captions, columns=6)


def _three(frames: np.ndarray, like: np.ndarray) -> list[np.ndarray]:
    """First, middle and last frame; white ones where there are none."""
    if not len(frames):
        return [(0 * like[0]) + 255] * 3
    return [frames[0], frames[len(frames) // 2], frames[-1]]


def scores_page(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: the numbers that matter with their references, and one sentence for what was not measured."""
    key = "↑ more is better, ↓ less. In brackets the 95 % interval; n is the number of clips, prompts or samples."
    return "\n\n".join([markdown_table(headline(rows)), key, *not_measured(rows)])


def all_scores(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: every measured row, slices and methods included."""
    return markdown_table(shown(measured(rows)))


def log_to_run(home: Home, registry: Registry, model: CurrentModel) -> None:
    """Put scores, marked sample videos and rendered scenes beside them into the model's MLflow run."""
    scores = model.scores(home)
    registry.log_metrics(
        model.run_id,
        int(model.record["transformer"]["result"].get("steps", 0)),
        {f"scorecard/{row['metric']}/{row['slice']}": row["value"] for row in measured(scores)},
    )
    page = scores_page(scores)
    registry.client.set_tag(model.run_id, NOTE, f"# Scorecard\n\n{page}")
    with tempfile.TemporaryDirectory() as scratch:
        _log_samples(home, registry, model, Path(scratch))
        for name, text in (
            ("scorecard.json", json.dumps(scores, indent=1, sort_keys=True)),
            ("scorecard.md", f"{page}\n\n## Everything that was measured\n\n{all_scores(scores)}"),
        ):
            _log_text(registry, model, Path(scratch) / name, text, "scorecard")


def _log_samples(home: Home, registry: Registry, model: CurrentModel, scratch: Path) -> None:
    """Marked samples, the rendered scene of those whose prompt is one, and a page that says which file is which."""
    from assets.marks.marking import mark_video
    from training.data.video import read_frames, write_mp4

    lines = []
    for row in model.samples(home):
        source, marked = home.store.fetch(row["media_key"]), scratch / f"{row['sample_id']}.mp4"
        mark_video(source, marked, model.claims, home.signing)
        registry.log_artifact(model.run_id, marked, "samples")
        frames, fps = read_frames(source)
        scene = rendered_scene(row["prompt"], frames.shape, fps)
        if scene is not None:
            path = write_mp4(scratch / f"{row['sample_id']}-rendered.mp4", scene, fps)
            registry.log_artifact(model.run_id, path, "samples")
        drawn = path.name if scene is not None else "the clip is on the page of the asset samples in Dagster"
        lines.append({"prompt": row["prompt"], "generated": marked.name, "what the prompt says": drawn})
    _log_text(registry, model, scratch / "prompts.md", markdown_table(lines), "samples")


def _log_text(registry: Registry, model: CurrentModel, path: Path, text: str, folder: str) -> None:
    path.write_text(text + "\n")
    registry.log_artifact(model.run_id, path, folder)
