"""Rows of a scorecard that pretrained networks and optical flow give: how near the model's videos are to real ones, how they
look and how they move.

The model makes `clips` videos: of held-out captions, each as large and as long as the clip and with its camera's motion, so
that every number stands beside that of real clips of the same kind. What a missing file or library keeps from being measured
is a row that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from training.evaluate import copies, motion, quality
from training.evaluate.bench import Bench, Video
from training.evaluate.distribution import FVD, KVD, distance_rows
from training.evaluate.heldout import border_energy
from training.evaluate.rows import Measured, Metric, by_part
from training.model.codec import to_unit
from training.networks import NetworkError, i3d, imagenet
from training.networks.lpips import LEAST_SIDE

LPIPS = Metric("reconstruction_lpips", "1", "lower", "LPIPS v0.1 (AlexNet), mean over frames, v1")
LPIPS_TO_CLIP = Metric("prompt_lpips", "1", "lower", "LPIPS v0.1 (AlexNet) to the prompt's clip, mean over frames, v1")
HELDOUT, OTHER = "reference=heldout", "reference=other"  # real clips; each real clip beside another one
NOT_ASKED = "no videos of held-out captions were asked for"
AT_ONCE = 16  # frames that a network sees at a time


def measured_with(metrics: Sequence[Metric], measure: Callable[[], Measured]) -> Measured:
    """What is measured, or, where a network cannot be had, a row for each of the metrics that says why."""
    try:
        return measure()
    except NetworkError as error:
        return Measured([metric.missing(str(error)) for metric in metrics])


def distribution_rows(bench: Bench) -> Measured:
    """FVD and the kernel distance to held-out clips: of the model's videos, of training clips (the floor), of the codec's."""

    def measure() -> Measured:
        real = _features(bench, [frames for frames, _ in bench.real.values()])
        sides = {
            "all": [frames for frames, _ in bench.asked.values()],
            HELDOUT: [frames for frames, _ in bench.trained],
            "reference=codec": [bench.coded[clip_id] for clip_id in bench.real],
        }
        return Measured(
            [row for part, side in sides.items() for row in distance_rows(part, _features(bench, side), real)]
        )

    if not bench.config.clips:
        return Measured([metric.missing(NOT_ASKED) for metric in (FVD, KVD)])
    return measured_with((FVD, KVD), measure)


def _features(bench: Bench, videos: Sequence[Tensor]) -> Tensor:
    """I3D's features [N, 400] of those that are long enough for it."""
    vectors = [i3d.features(bench.i3d, frames) for frames in videos if len(frames) >= i3d.LEAST_FRAMES]
    return torch.stack(vectors) if vectors else torch.zeros(0, i3d.CLASSES)


def reconstruction_lpips(bench: Bench) -> Measured:
    """LPIPS of the codec's reconstructions of held-out clips, by clip."""

    def measure() -> Measured:
        pairs = {clip_id: (bench.coded[clip_id], frames) for clip_id, (frames, _) in bench.heldout_videos.items()}
        return _by_clip(bench, LPIPS, {clip_id: _lpips(bench, *pair) for clip_id, pair in pairs.items()})

    return measured_with((LPIPS,), measure)


def beside_the_clip(bench: Bench) -> Measured:
    """LPIPS and motion of each video against the clip of its caption, and of real clips against others."""
    if not bench.asked:
        return Measured([metric.missing(NOT_ASKED) for metric in (LPIPS_TO_CLIP, motion.ALIKE)])
    clip_ids = list(bench.real)
    others = dict(zip(clip_ids, [*clip_ids[1:], clip_ids[0]], strict=True))

    def lpips() -> Measured:
        own = {clip_id: _lpips(bench, bench.asked[clip_id][0], bench.real[clip_id][0]) for clip_id in clip_ids}
        pairs = ((bench.real[a][0], bench.real[b][0]) for a, b in others.items())
        other = [value for a, b in pairs if a.shape == b.shape and (value := _lpips(bench, a, b)) is not None]
        return _by_clip(bench, LPIPS_TO_CLIP, own) + Measured([LPIPS_TO_CLIP.row(OTHER, other)])

    def alike() -> Measured:
        real = {clip_id: motion.moves(*video) for clip_id, video in bench.real.items()}
        own = {clip_id: motion.agreement(motion.moves(*bench.asked[clip_id]), real[clip_id]) for clip_id in clip_ids}
        other = (motion.agreement(real[b], real[a]) for a, b in others.items())
        rows = [motion.ALIKE.row(OTHER, [value for value in other if value is not None])]
        return _by_clip(bench, motion.ALIKE, own) + Measured(rows)

    return measured_with((LPIPS_TO_CLIP,), lpips) + measured_with((motion.ALIKE,), alike)


def look_rows(bench: Bench) -> Measured:
    """Consistency, imaging quality, seams and flicker of the model's videos, beside those of real clips."""

    def subject(frames: Tensor, fps: float) -> float | None:
        return quality.consistency(imagenet.features(bench.imagenet, quality.some_frames(frames)))

    def background(frames: Tensor, fps: float) -> float | None:
        return quality.consistency(bench.sscd(quality.some_frames(frames)))

    def imaging(frames: Tensor, fps: float) -> float | None:
        return quality.imaging(bench.brisque, frames)

    measured = _beside_real(bench, quality.FLICKER, lambda frames, fps: quality.flicker(frames))
    for metric, measure in ((quality.SUBJECT, subject), (quality.BACKGROUND, background), (quality.IMAGING, imaging)):
        measured += _beside_real(bench, metric, measure)
    return measured + seam_rows(bench)


def seam_rows(bench: Bench) -> Measured:
    """Steps at token borders: of the codec's reconstructions over each source's own, of the model's videos over those of
    real clips."""
    cell = bench.pipeline.codec.config.patch * bench.pipeline.model.config.patch
    real = {clip_id: border_energy(frames, cell) for clip_id, (frames, _) in bench.heldout_videos.items()}
    ratios = [value for value in real.values() if value]
    if not ratios:
        return Measured([quality.SEAMS.missing("no held-out clip has a token border with steps beside it")])
    usual = sum(ratios) / len(ratios)
    coded = [
        value / own
        for clip_id, own in real.items()
        if own and (value := border_energy(bench.coded[clip_id], cell)) is not None
    ]
    made = {name: border_energy(frames, cell) for name, (frames, _) in bench.generated.items()}
    made = {name: None if value is None else value / usual for name, value in made.items()}
    return _by_clip(bench, quality.SEAMS, made) + Measured([quality.SEAMS.row("reference=codec", coded)])


def motion_rows(bench: Bench) -> Measured:
    """Smoothness and dynamic degree of the model's videos, beside those of real clips."""
    smooth = _beside_real(bench, motion.SMOOTH, lambda frames, fps: motion.smoothness(frames))
    return smooth + _beside_real(bench, motion.DYNAMIC, motion.dynamic)


def copy_rows(bench: Bench) -> Measured:
    """Whether the samples repeat training clips, by colours and by SSCD."""
    by_colours, by_sscd = (copies.RATIO, copies.COPIES), (copies.SSCD_RATIO, copies.SSCD_COPIES)
    videos = [frames for frames, _ in bench.generated.values()]
    if not videos:
        return Measured([metric.missing("no samples were given") for metric in (*by_colours, *by_sscd)])

    def described(metrics: tuple[Metric, Metric], describe: Callable[[Tensor], Tensor]) -> Measured:
        sides = videos, *([bench.frames.read(m["clip_id"])[0] for m in side] for side in (bench.train, bench.heldout))
        return Measured(
            copies.copy_rows(*metrics, *(torch.stack([describe(frames) for frames in side]) for side in sides))
        )

    def sscd(frames: Tensor) -> Tensor:
        return bench.sscd(quality.some_frames(frames, 3)).flatten()

    return described(by_colours, copies.descriptor) + measured_with(by_sscd, lambda: described(by_sscd, sscd))


def _beside_real(bench: Bench, metric: Metric, measure: Callable[[Tensor, float], float | None]) -> Measured:
    """A measure of single videos: of the model's, by slice, and of real clips."""

    def values(videos: Mapping[str, Video]) -> dict[str, float | None]:
        return {name: measure(*video) for name, video in videos.items()}

    def rows() -> Measured:
        real = [value for value in values(bench.real or bench.heldout_videos).values() if value is not None]
        return _by_clip(bench, metric, values(bench.generated)) + Measured([metric.row(HELDOUT, real)])

    return measured_with((metric,), rows)


def _by_clip(bench: Bench, metric: Metric, by_clip: Mapping[str, float | None]) -> Measured:
    """Rows by slice from values by clip or sample, and the values; None is no value."""
    if not by_clip:
        return Measured([metric.missing("no samples were given")])
    values = {name: value for name, value in by_clip.items() if value is not None}
    if not values:
        return Measured([metric.missing("none of the videos shows enough")])
    parts = {part: [clip_id for clip_id in clips if clip_id in values] for part, clips in bench.parts.items()}
    parts["all"] = list(values)
    return Measured(metric.slices(values, parts), by_part(metric.name, values, parts))


def _lpips(bench: Bench, a_THWC: Tensor, b_THWC: Tensor) -> float | None:
    """Mean distance of two videos of one shape, frame by frame; None for sides that are too short."""
    if a_THWC.shape != b_THWC.shape or min(a_THWC.shape[1:3]) < LEAST_SIDE:
        return None
    with torch.inference_mode():
        parts = zip(
            *(to_unit(x).transpose(0, 1).to(bench.device).split(AT_ONCE) for x in (a_THWC, b_THWC)), strict=True
        )
        return float(torch.cat([bench.lpips(a, b) for a, b in parts]).mean())
