"""A trial's video in words, from its pixels alone, and how near those words are to the prompt.

Each question of `adherence` has a yes or no; a video that shows a blue square where a red circle was asked for may still be
near. So the pixel judge writes the caption that the video deserves, by the same rules that captions of trials are made by,
and a sentence encoder compares the two (MiniLM; Reimers and Gurevych, arXiv 1908.10084). Beside it stands what two captions of
different trials have in common anyway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from training.evaluate.adherence import direction_of, light_of, shape_of, side_of
from training.evaluate.physics import NAMES, SMALLEST, Seen, bounced, camera_move, look
from training.evaluate.rows import Measured, Metric, key
from training.model.text import TextEncoder
from training.simulate.scene import NUMBERS, SHAPES, TIME_PHRASES
from training.simulate.trial import Trial

SIMILARITY = Metric(
    "caption_similarity", "cosine", "higher", "MiniLM: prompt and the pixel judge's caption of trials, v1"
)


def similarity(part: str, videos: Sequence[Tensor], trials: Mapping[str, Trial], encoder: TextEncoder) -> Measured:
    """The cosine by trial. For the rendered trials also that of each caption with the next one's: what chance gives."""
    if not isinstance(encoder, TextEncoder):  # a pretrained base brings its own
        return Measured([SIMILARITY.missing("the base's text encoder makes no vectors of sentences", part)])
    prompts = encoder.embed([trial.caption() for trial in trials.values()])
    seen = encoder.embed([described(video) for video in videos])
    by_trial = dict(zip(trials, (prompts * seen).sum(1).tolist(), strict=True))
    rows = [SIMILARITY.row(part, list(by_trial.values()))]
    if (
        part == "reference=rendered" and len(prompts) > 2
    ):  # pairs and what moves come in turn: the next but one is alike
        rows.append(SIMILARITY.row("reference=other", (prompts[:-2] * prompts[2:]).sum(1).tolist()))
    return Measured(rows, {key(SIMILARITY.name, part): by_trial})


def described(frames_THWC: Tensor) -> str:
    """One sentence on what a uint8 video shows."""
    seen = look(frames_THWC)
    area_K = seen.area_TK.max(0).values
    colours = [NAMES[k] for k in area_K.argsort(descending=True).tolist() if float(area_K[k]) >= SMALLEST][:2]
    light = light_of(seen)
    if not colours:
        return f"nothing {TIME_PHRASES[light][0]}"
    shapes = [shape_of(seen, colour) or SHAPES[0] for colour in colours]
    return _two(seen, colours, shapes, light) if len(colours) == 2 else _alone(seen, colours[0], shapes[0], light)


def _two(seen: Seen, colours: list[str], shapes: list[str], light: str) -> str:
    going = {colour: direction_of(seen, colour) for colour in colours}
    striker = next((colour for colour in colours if going[colour] in ("left", "right")), None)
    order = colours if striker in (None, colours[0]) else colours[::-1]
    kind = "pair" if striker is None else "collide"
    side = side_of(seen, *order) if striker is None else going[striker]
    return Trial(
        kind=kind,
        shapes=tuple(shapes[colours.index(colour)] for colour in order),
        colours=tuple(order),
        direction=side or "left",
        time_of_day=light,
        sizes=(0.07, 0.07),
    ).caption()


def _alone(seen: Seen, colour: str, shape: str, light: str) -> str:
    counts = [len(frame) for frame in seen.bodies if frame]
    count = max(set(counts), key=counts.count) if counts else 1
    direction, camera = direction_of(seen, colour), camera_move(seen)
    about: dict[str, Any] = {"shapes": (shape,), "colours": (colour,), "time_of_day": light}
    if direction == "down" and bounced(seen, colour):
        return Trial("fall", direction="down", **about).caption()
    if camera != "static":
        return Trial("camera", camera=camera, **about).caption()
    if direction is None:
        return f"{NUMBERS[min(count, len(NUMBERS))]} {colour} {shape} {TIME_PHRASES[light][0]}"
    hidden = float(seen.area_TK[:, NAMES.index(colour)].min()) < SMALLEST
    if hidden and direction in ("left", "right"):
        return Trial("occlude", direction=direction, **about).caption()
    return Trial("glide", direction=direction, count=min(count, len(NUMBERS)), **about).caption()
