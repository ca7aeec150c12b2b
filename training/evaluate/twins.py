"""Good clips and their violated twins: whether the measurements of this package notice what they are there for.

A good clip is a rendered trial, or a held-out clip of real footage. Its twins are the same clip played backwards, frozen,
with its frames shuffled, with seams, in other colours from the middle on, or without its body from the middle on (trials
alone: there it is known what the body is). Each evaluator compares a twin with the good clip under a fixed limit. A twin
is found if one of them is beyond its limit, and the rows by evaluator say which. The same limits are held against a twin that
nobody would mind, with a little noise: what is noticed there is a false alarm.

No single evaluator sees everything: features of frames do not see time run backwards, and flow does not see colours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from training.evaluate import motion, quality
from training.evaluate.adherence import adherence, heldout_trials
from training.evaluate.bench import Bench
from training.evaluate.heldout import seam_step
from training.evaluate.physics import look
from training.evaluate.rows import Measured, Metric
from training.model.flow import keyed
from training.networks import NetworkError, imagenet
from training.networks.imagenet import EfficientNetLite0
from training.simulate.supply import FPS, pictures
from training.simulate.trial import Trial

NOTICED = Metric("twins_noticed", "share", "higher", "violated twins of rendered trials and held-out clips, v2")
ALARMS = Metric("twins_false_alarms", "share", "lower", "noise of 2 levels on the same clips, v2")
STEP = 10  # levels by which seams raise every other cell
LOOKED_AT = 5  # frames of a twin that the ImageNet network sees
NOISE = 2.0  # levels that nobody minds
MOVES = 0.01  # diagonals a second of mean flow from which a clip moves enough to be played backwards
# limits of the evaluators: what they may differ from the good clip's own
AGREES, JERKS, SEAMED, STRANGER, JUMPS = 0.5, (1.5, 0.01), 1.0, 0.05, (1.5, 3.0)


@dataclass(frozen=True)
class Good:
    """A clip that is as it should be. `trial` is what was rendered, if it was."""

    frames_THWC: Tensor
    fps: float
    cell: int  # pixels of a token's side
    trial: Trial | None = None


def backwards(good: Good) -> Tensor:
    return good.frames_THWC.flip(0)


def frozen(good: Good) -> Tensor:
    return good.frames_THWC[:1].expand_as(good.frames_THWC).contiguous()


def shuffled(good: Good) -> Tensor:
    return good.frames_THWC[torch.randperm(len(good.frames_THWC), generator=keyed("twin", len(good.frames_THWC)))]


def seamed(good: Good) -> Tensor:
    """Every other cell a little lighter, as on a chessboard."""
    _, height, width, _ = good.frames_THWC.shape
    rows, columns = torch.arange(height) // good.cell, torch.arange(width) // good.cell
    lighter_HW1 = ((rows[:, None] + columns[None, :]) % 2)[..., None]
    return (good.frames_THWC.float() + STEP * lighter_HW1).clamp(0, 255).to(torch.uint8)


def recoloured(good: Good) -> Tensor:
    """From the middle on, red is green, green blue, and blue red."""
    frames_THWC = good.frames_THWC.clone()
    middle = len(frames_THWC) // 2
    frames_THWC[middle:] = frames_THWC[middle:].roll(1, -1)
    return frames_THWC


def vanishing(good: Good) -> Tensor:
    """From the middle on, what is behind the bodies in other frames, or around them, is where they were."""
    covered_THW = torch.nn.functional.max_pool2d(look(good.frames_THWC).cover_TKHW.sum(1), 3, 1, 1) > 0
    frames_THWC, middle = good.frames_THWC.clone(), len(good.frames_THWC) // 2
    seen_THWC = frames_THWC.float().masked_fill(covered_THW[..., None], torch.nan)
    behind_HWC = seen_THWC.nanmedian(0).values
    around_C = seen_THWC.flatten(0, 2).nanmedian(0).values
    behind_HWC = torch.where(behind_HWC.isnan(), around_C, behind_HWC).to(torch.uint8)
    later = covered_THW[middle:, ..., None]
    frames_THWC[middle:] = torch.where(later, behind_HWC, frames_THWC[middle:])
    return frames_THWC


def unharmed(good: Good) -> Tensor:
    noise = torch.randn(good.frames_THWC.shape, generator=keyed("twin noise")) * NOISE
    return (good.frames_THWC.float() + noise).round().clamp(0, 255).to(torch.uint8)


IN_TIME: Mapping[str, Callable[[Good], Tensor]] = {"reversed": backwards, "frozen": frozen, "shuffled": shuffled}
IN_PICTURES: Mapping[str, Callable[[Good], Tensor]] = {"seamed": seamed, "recoloured": recoloured}
OF_TRIALS: Mapping[str, Callable[[Good], Tensor]] = {"vanishing": vanishing}
TWINS = (*IN_TIME, *IN_PICTURES, *OF_TRIALS)


class Judge:
    """The evaluators, each with what it measured of the good clip; without the ImageNet network it has one less."""

    def __init__(self, good: Good, network: EfficientNetLite0 | None) -> None:
        self.good, self.network = good, network
        frames = good.frames_THWC
        self.moves = motion.moves(frames, good.fps)
        self.verdicts = adherence(frames, good.trial, good.fps) if good.trial else {}
        self.jerks = 1 - (motion.smoothness(frames) or 1)
        self.seams = seam_step(frames, good.cell) or 0.0
        self.jump = colour_jump(frames)
        self.consistency = self._consistency(frames)

    @property
    def moving(self) -> bool:
        return float(self.moves.norm(dim=-1).mean()) >= MOVES

    def notices(self, twin: Tensor) -> dict[str, bool]:
        """Which evaluators are beyond their limits."""
        good, agreement = self.good, motion.agreement(motion.moves(twin, self.good.fps), self.moves)
        consistency = self._consistency(twin)
        found = {
            "motion": agreement is not None and agreement < AGREES,
            "smoothness": 1 - (motion.smoothness(twin) or 1) > JERKS[0] * self.jerks + JERKS[1],
            "colour": colour_jump(twin) > JUMPS[0] * self.jump + JUMPS[1],
            "seams": (seam_step(twin, good.cell) or 0.0) > self.seams + SEAMED,
        }
        if good.trial:
            verdicts = adherence(twin, good.trial, good.fps)
            found["adherence"] = any(right and not verdicts[name] for name, right in self.verdicts.items())
        if consistency is not None and self.consistency is not None:
            found["subject"] = consistency < self.consistency - STRANGER
        return found

    def _consistency(self, frames_THWC: Tensor) -> float | None:
        if self.network is None:
            return None
        return quality.consistency(imagenet.features(self.network, quality.some_frames(frames_THWC, LOOKED_AT)))


def colour_jump(frames_THWC: Tensor) -> float:
    """The largest change of colour, in levels without brightness, from one frame to the next at 4 x 4 places."""
    chroma_THWC = frames_THWC.float() - frames_THWC.float().mean(-1, keepdim=True)
    places_TCGG = torch.nn.functional.adaptive_avg_pool2d(chroma_THWC.movedim(-1, 1), 4)
    return float(places_TCGG.diff(dim=0).abs().amax()) if len(frames_THWC) > 1 else 0.0


def twins(judge: Judge) -> Iterator[tuple[str, Tensor]]:
    """The twins that there are of a clip; one that does not move has none in time."""
    if judge.moving:
        yield from ((name, make(judge.good)) for name, make in IN_TIME.items())
    yield from ((name, make(judge.good)) for name, make in IN_PICTURES.items())
    if judge.good.trial:
        yield from ((name, make(judge.good)) for name, make in OF_TRIALS.items())


def twin_rows(bench: Bench) -> Measured:
    """How many twins of each kind are noticed, and by which evaluator."""
    if bench.config.twins == 0:
        return Measured([metric.missing("no violated twins were asked for") for metric in (NOTICED, ALARMS)])
    try:
        return noticed(good_clips(bench), _imagenet(bench))
    except NetworkError as error:
        return Measured([metric.missing(str(error)) for metric in (NOTICED, ALARMS)])


def good_clips(bench: Bench) -> dict[str, Good]:
    """As many rendered trials of what moves as real clips, by name."""
    own, cell = bench.pipeline.model.sampling, bench.pipeline.codec.config.patch * bench.pipeline.model.config.patch
    trials = list(heldout_trials(bench.config.twins, (own.frames - 1) / FPS).items())[1::2]
    goods = {name: Good(pictures(trial, own.size, own.frames), FPS, cell, trial) for name, trial in trials}
    for clip_id, (frames, fps) in list(bench.heldout_videos.items())[: bench.config.twins]:
        goods[clip_id] = Good(frames, fps if fps > 0 else FPS, cell)
    return goods


def noticed(goods: Mapping[str, Good], network: EfficientNetLite0 | None) -> Measured:
    """Rows `twin=reversed` and `twin=reversed by motion`, and for each twin whether it was noticed, by clip."""
    answers: dict[str, dict[str, dict[str, bool]]] = {name: {} for name in TWINS}
    alarms = {}
    for clip_id, good in goods.items():
        judge = Judge(good, network)
        for name, twin in twins(judge):
            answers[name][clip_id] = judge.notices(twin)
        alarms[clip_id] = any(judge.notices(unharmed(good)).values())
    rows = [ALARMS.share("all", list(alarms.values()))]
    every = [any(by.values()) for by_clip in answers.values() for by in by_clip.values()]
    rows.append(NOTICED.share("all", every))
    for name, by_clip in answers.items():
        rows.append(NOTICED.share(f"twin={name}", [any(by.values()) for by in by_clip.values()]))
        for evaluator in sorted({evaluator for by in by_clip.values() for evaluator in by}):
            right = [by[evaluator] for by in by_clip.values() if evaluator in by]
            if any(right):
                rows.append(NOTICED.share(f"twin={name} by {evaluator}", right))
    return Measured(rows)


def _imagenet(bench: Bench) -> EfficientNetLite0 | None:
    try:
        return bench.imagenet
    except NetworkError:
        return None
