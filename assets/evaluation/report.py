"""A model's samples and scores as people see them, on its pages in the Dagster UI; `tracking` has them for MLflow.

The headline has the numbers that matter, in plain words, each beside what it compares with; all rows are in the table
`scorecard`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assets.dataset import renditions
from assets.evaluation.measuring import SCENE_SEEDS
from assets.home import Home
from assets.model.published import CurrentModel
from assets.pages.plots import animated_webp, beside, contact_sheet, markdown_image, markdown_table
from training.data.video import read_frames
from training.simulate import random_scene, render

if TYPE_CHECKING:
    import numpy as np

Row = Mapping[str, Any]
MOST_BYTES = 190_000  # of one metadata entry: the UI keeps it in its event log
HELD_OUT, RENDERED = "the held-out clip", "the rendered scene"
SHOWN_HEIGHT, QUALITY = 128, 35  # of moving samples: pixels, and what lets four of them fit
LETTERS = 28  # of a prompt, in a line below a picture of the grid


# metric: what it is called
NUMBERS: Mapping[str, str] = {
    "heldout_flow_loss": "flow loss, held-out",
    "reconstruction_psnr": "reconstruction",
    "trial_colour": "colour as asked",
    "trial_direction": "direction as asked",
    "trial_side": "left/right as asked",
    "trial_count": "count as asked",
    "trial_permanence": "hidden things stay",
    "prompt_colour": "colour, simple scenes",
    "camera_obedience": "camera as asked",
    "caption_similarity": "caption of what is seen",
    "fvd": "FVD (floor: real clips)",
    "reconstruction_lpips": "reconstruction, LPIPS",
    "motion_agreement": "moves as the prompt's clip",
    "subject_consistency": "subject stays itself",
    "background_consistency": "background stays itself",
    "imaging_quality": "BRISQUE",
    "seam_energy": "seams (1: none)",
    "memorised_clips": "copied clips",
    "copies_sscd": "copied clips, by SSCD",
    "temporal_flicker": "flicker (1: none)",
    "motion_smoothness": "motion smoothness",
    "dynamic_degree": "dynamic degree",
    "twins_noticed": "violations noticed",
    "evaluation_cpu": "processor time of measuring",
    "sampling_speed": "time for a video",
}
# column: the slices that fill it, the first that was measured
COLUMNS: Mapping[str, Sequence[str]] = {
    "this model": ("all",),
    "base": ("reference=base",),
    "best possible": ("reference=codec", "reference=rendered"),
    "real clips": ("reference=heldout",),
    "by chance": ("reference=other",),
    "untrained": ("reference=closed_form", "reference=untrained"),
}
HIDDEN_UNITS = {"1", "samples", "squared error", "cosine", "0 to 100"}  # the words say these already
LISTED = 3  # metrics without a number that are named, of those with one reason
ARROWS = {"higher": " ↑", "lower": " ↓", "none": ""}  # more is better, less is better


@dataclass(frozen=True)
class Video:
    """`frames` are uint8 [T, H, W, 3]; `truth` is a video of what the prompt says, if there is one."""

    prompt: str
    frames: np.ndarray
    fps: float
    truth: np.ndarray | None = None
    truth_is: str = ""  # what `truth` shows: a held-out clip, or a rendered scene


def load_videos(home: Home, model: CurrentModel) -> list[Video]:
    """The model's samples, held-out captions first, each with the real clip or the rendered scene of its prompt."""
    videos = []
    for row in model.samples(home):
        frames, fps = read_frames(home.store.fetch(row["media_key"]))
        truth, truth_is = what_it_says(home, model, row["prompt"], frames.shape, fps)
        videos.append(Video(row["prompt"], frames, fps, truth, truth_is))
    return sorted(videos, key=lambda video: video.truth_is != HELD_OUT)


def what_it_says(
    home: Home, model: CurrentModel, prompt: str, shape: tuple[int, ...], fps: float
) -> tuple[np.ndarray | None, str]:
    """The held-out clip of a prompt, or its rendered scene at this shape [T, H, W, 3], and which of the two it is."""
    from safetensors.numpy import load

    for member in model.sealed.members:
        (key,) = renditions.keys(home, [member["clip_id"]])
        if member["split"] == "heldout" and member["caption"] == prompt and home.store.exists(key):
            return load(home.store.get(key))["frames"], HELD_OUT
    scene = rendered_scene(prompt, shape, fps)
    return scene, RENDERED if scene is not None else ""


def rendered_scene(prompt: str, shape: tuple[int, ...], fps: float) -> np.ndarray | None:
    """What the prompt of a simulated scene shows, drawn at the sample's size; None for any other prompt."""
    scene = next((scene for seed in SCENE_SEEDS if (scene := random_scene(seed)).caption() == prompt), None)
    return render(scene, shape[2], shape[1], shape[0], fps) if scene else None


def moving(videos: Sequence[Video]) -> str:
    """Markdown with as many animated videos as fit, each under its prompt, left of what the prompt says."""
    parts, size = [], 0
    for video in videos:
        frames = video.frames if video.truth is None else beside(video.frames, video.truth)
        caption = f"**{video.prompt}**" + (f"  \nleft: generated; right: {video.truth_is}" if video.truth_is else "")
        shown_side = max(frames.shape[1:3]) * max(1, SHOWN_HEIGHT // frames.shape[1])
        part = f"{caption}\n\n{markdown_image(animated_webp(frames, video.fps, shown_side, QUALITY), alt='sample')}"
        if size + len(part) > MOST_BYTES:
            break
        size += len(part)
        parts.append(part)
    return "\n\n".join(parts) or "*none*"


def grid(videos: Sequence[Video]) -> bytes:
    """A WebP with a row a video: its first, middle and last frame, then those of what its prompt says."""
    frames, captions = [], []
    for video in videos:
        for row, text in ((video.frames, video.prompt), (video.truth, video.truth_is)):
            if row is None:
                row, text = video.frames[:0], ""
            frames += _three(row, video.frames)
            captions += [textwrap.fill(text, LETTERS), "", ""]
    return contact_sheet(frames, captions, columns=6)


def _three(frames: np.ndarray, like: np.ndarray) -> list[np.ndarray]:
    """First, middle and last frame; white ones if there are none."""
    if not len(frames):
        return [(0 * like[0]) + 255] * 3
    return [frames[0], frames[len(frames) // 2], frames[-1]]


def scores_page(rows: Sequence[Row]) -> str:
    """Markdown: the numbers that matter with their references, and one sentence for what was not measured."""
    key = "↑ more is better, ↓ less. In brackets the 95 % interval; n is the number of clips, prompts or samples."
    return "\n\n".join([markdown_table(headline(rows)), key, *not_measured(rows)])


def all_scores(rows: Sequence[Row]) -> str:
    """Markdown: every measured row, slices and methods included."""
    return markdown_table(shown(measured(rows)))


def headline(rows: Sequence[Row]) -> list[dict[str, str]]:
    """The table: a line for each number measured on this model, and the columns that any line fills."""
    scores = {(row["metric"], row["slice"]): row for row in measured(rows)}
    lines = []
    for metric, words in NUMBERS.items():
        if (own := scores.get((metric, "all"))) is None:
            continue
        line = {"what": words + ARROWS[own["better"]]}
        for column, slices in COLUMNS.items():
            score = next((row for part in slices if (row := scores.get((metric, part)))), None)
            line[column] = shown_value(score, interval=score is own) if score else ""
        lines.append(line | {"n": str(own["n"]), "metric": metric})
    empty = {column for column in COLUMNS if not any(line[column] for line in lines)}
    return [{name: value for name, value in line.items() if name not in empty} for line in lines]


def not_measured(rows: Sequence[Row]) -> list[str]:
    """One sentence for each reason, with the metrics that have no number because of it."""
    names: dict[str, dict[str, None]] = {}
    for row in rows:
        if row["value"] is None:
            names.setdefault(row["why"] or "no reason was given", {})[row["metric"].replace("_", " ")] = None
    return [f"Not measured, {why}: {_listed(list(metrics))}." for why, metrics in names.items()]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= LISTED else f"{', '.join(names[:LISTED])} and {len(names) - LISTED} more"


def measured(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["value"] is not None]


def shown_value(row: Row, interval: bool = True) -> str:
    """The number as people read it, with its 95 % interval if it has one: `96 % (92–98)`."""
    share = row["unit"] == "share"
    numbers = [row["value"]]
    if interval and row["ci_low"] is not None:
        numbers += [row["ci_low"], row["ci_high"]]
    value, *ends = (f"{100 * number:.0f}" if share else _plain(number) for number in numbers)
    unit = "%" if share else "" if row["unit"] in HIDDEN_UNITS else row["unit"]
    unit = unit.removesuffix("/clip")
    return f"{value} {unit}".rstrip() + (f" ({ends[0]}–{ends[1]})" if ends else "")


def _plain(number: float) -> str:
    """Three significant digits, and no exponent if a whole number will do."""
    return f"{number:.0f}" if abs(number) >= 100 or number == round(number) else f"{number:.3g}"


def shown(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Rows for people: the value with its interval, or why it was not measured."""
    return [
        {
            "metric": row["metric"],
            "slice": row["slice"],
            "value": _value_with_interval(row),
            "unit": row["unit"],
            "n": str(row["n"]),
            "better": row["better"],
            "method": row["method"],
        }
        for row in rows
    ]


def _value_with_interval(row: Mapping[str, Any]) -> str:
    if row["state"] != "measured" or row["value"] is None:
        return f"not measured: {row['why']}"
    interval = "" if row["ci_low"] is None else f" [{row['ci_low']:.4g}, {row['ci_high']:.4g}]"
    return f"{row['value']:.4g}{interval}"
