"""The steps of a run: which clips are in one, which caption each gets, its noise, its times and its references.

Every random choice of a sample is drawn from (seed, clip, step) alone, so a resumed run, or one on other machines, draws
the same. `ahead` makes steps in a thread, so that reading data hides behind compute.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from training.config import TrainConfig
from training.data.clips import CaptionedClips, Pictures, PicturesAtAnyShape
from training.data.packing import Batch, Cursor, collate
from training.model import flow
from training.model.codec import to_unit
from training.model.conditioning import draw_given

T = TypeVar("T")

AHEAD = 2  # steps that wait ready
_END = object()


@dataclass
class CodecStep:
    """One step of the codec: clips of one shape."""

    step: int
    cursor: Cursor
    clip_ids: tuple[str, ...]
    x_BCTHW: Tensor
    weight_S: Tensor  # see Share
    tokens: int


@dataclass
class FlowStep:
    """One step of the transformer: a pack, its noise, times and given tokens, all keyed by clip and step."""

    step: int
    cursor: Cursor
    batch: Batch
    e_NP: Tensor
    t_F: Tensor
    given_N: Tensor
    weight_S: Tensor
    tokens: int

    @property
    def clip_ids(self) -> tuple[str, ...]:
        return self.batch.clip_ids


@dataclass(frozen=True)
class Share:
    """One process of several that share each step."""

    rank: int = 0
    world: int = 1

    def of(self, pack: Sequence[str]) -> tuple[tuple[str, ...], Tensor]:
        """This process's part of a pack, and each clip's weight, such that the mean over processes of the weighted sums
        is the mean over the whole pack. A process that would have nothing takes the first clip with weight 0."""
        part = tuple(pack[self.rank :: self.world])
        if not part:
            return (pack[0],), torch.zeros(1)
        return part, torch.full((len(part),), self.world / len(pack))


ALONE = Share()


def rendered_beside(pack: Sequence[str], rendered: Sequence[str], config: TrainConfig, step: int) -> tuple[str, ...]:
    """Names of the rendered clips that join a pack, such that they are `rendered_share` of the step; by seed and step alone."""
    count = min(len(rendered), round(len(pack) * config.rendered_share / (1 - config.rendered_share)))
    drawn = torch.randint(len(rendered), (count,), generator=flow.keyed("rendered", config.seed, step))
    return tuple(dict.fromkeys(rendered[i] for i in drawn.tolist()))  # twice in a step, a clip had the same noise twice


def codec_steps(
    config: TrainConfig,
    clips: Pictures,
    cursor: Cursor,
    first: int,
    share: Share = ALONE,
    rendered: PicturesAtAnyShape | None = None,
) -> Iterator[CodecStep]:
    """Steps `first` to the last. Shapes are not mixed: rendered clips are drawn in the shape of their pack."""
    items = clips.items(config.codec)
    by_id = {item.clip_id: item for item in items}
    packs = cursor.packs(items, config.batch_tokens, config.seed, **config.packing)
    for step, pack in zip(range(first, config.last_step + 1), packs, strict=False):
        joining = rendered_beside(pack, rendered.clip_ids, config, step) if rendered else ()
        shape = by_id[pack[0]].shape

        def read(clip_id: str, shape: tuple[int, ...] = shape) -> Tensor:
            if rendered is None or clip_id in by_id:
                return clips.read(clip_id)[0]
            return rendered.read_at(clip_id, shape)

        clip_ids, weight_S = share.of(pack + joining)
        generators = [flow.keyed("mirrored", config.seed, clip_id, step) for clip_id in clip_ids]
        x_BCTHW = torch.stack(
            [mirrored(to_unit(read(i)), generator) for i, generator in zip(clip_ids, generators, strict=True)]
        )
        done = Cursor(cursor.epoch, cursor.pack + 1)
        tokens = sum(by_id[i].tokens for i in pack) + len(joining) * by_id[pack[0]].tokens
        yield CodecStep(step, done, clip_ids, x_BCTHW, weight_S, tokens)


def mirrored(x_CTHW: Tensor, generator: torch.Generator) -> Tensor:
    """The clip or one of its seven reflections, in time, height and width: few films look like more."""
    chosen = torch.rand(3, generator=generator) < 0.5
    return x_CTHW.flip([axis + 1 for axis in range(3) if chosen[axis]])


def flow_steps(
    config: TrainConfig,
    clips: CaptionedClips,
    cursor: Cursor,
    first: int,
    share: Share = ALONE,
    rendered: CaptionedClips | None = None,
) -> Iterator[FlowStep]:
    """Steps `first` to the last, each with its share of `rendered` clips."""
    items = clips.items()
    tokens = {item.clip_id: item.tokens for item in items + (rendered.items() if rendered else [])}
    own, names = {item.clip_id for item in items}, list(rendered.captions) if rendered else []
    for step, pack in zip(
        range(first, config.last_step + 1),
        cursor.packs(items, config.batch_tokens, config.seed, **config.packing),
        strict=False,
    ):
        if rendered is not None:
            pack += rendered_beside(pack, names, config, step)
        clip_ids, weight_S = share.of(pack)
        samples = []
        for clip_id in clip_ids:
            source = clips if rendered is None or clip_id in own else rendered
            shares = source.shares.get(clip_id, ())
            samples.append(
                source.read(clip_id, draw_text(source.captions[clip_id], config.seed, clip_id, step, shares))
            )
        # sorted, because attention computes neighbours of equal lengths in one call; the weights are all equal
        batch = collate(sorted(samples, key=lambda s: (len(s.x_NP), len(s.text_MT))))
        drawn = [draw(config, *pair, step) for pair in zip(batch.clip_ids, batch.grids, strict=True)]
        batch = drop_conditions(batch, [d.keep_text for d in drawn], [d.keep_numbers for d in drawn])
        yield FlowStep(
            step=step,
            cursor=Cursor(cursor.epoch, cursor.pack + 1),
            batch=batch,
            e_NP=torch.cat(
                [
                    torch.randn(n, batch.x_NP.shape[1], generator=d.generator)
                    for n, d in zip(batch.segments.lengths, drawn, strict=True)
                ]
            ),
            t_F=torch.tensor([d.t for d in drawn])[batch.segment_F],
            given_N=torch.cat([d.given_N for d in drawn]),
            weight_S=weight_S,
            tokens=sum(tokens[clip_id] for clip_id in pack),
        )


@dataclass
class Drawn:
    """The random choices of one sample at one step; `generator` goes on to draw its noise."""

    generator: torch.Generator
    t: float
    given_N: Tensor
    keep_text: bool
    keep_numbers: bool


def draw(config: TrainConfig, clip_id: str, grid: tuple[int, int, int], step: int) -> Drawn:
    """All choices for a clip at a step, from (seed, clip, step) alone."""
    generator = flow.keyed("train", config.seed, clip_id, step)
    keep_text, keep_numbers = torch.rand(2, generator=generator).tolist()
    tokens, shift = grid[0] * grid[1] * grid[2], config.noise_shift
    if config.time_mean is not None:
        shift = config.time_mean - flow.timestep_mean(tokens)
    t = flow.draw_timestep(tokens, generator, shift)
    given_N = draw_given(grid, config.modes, generator)
    return Drawn(generator, t, given_N, keep_text >= config.caption_dropout, keep_numbers >= config.numeric_dropout)


def drop_conditions(batch: Batch, keep_text: Sequence[bool], keep_numbers: Sequence[bool]) -> Batch:
    """The batch with captions and numbers hidden where not kept."""
    numeric_SQ = batch.numeric_SQ.masked_fill(~torch.tensor(list(keep_numbers))[:, None], float("nan"))
    return replace(batch, text_kept_S=torch.tensor(list(keep_text)), numeric_SQ=numeric_SQ)


def draw_text(texts: Sequence[str], seed: int, clip_id: str, step: int, shares: Sequence[float] = ()) -> str:
    """One of the texts, by their shares or each as likely as the next. No other draw of the step depends on it."""
    if len(texts) == 1:
        return texts[0]
    generator = flow.keyed("caption", seed, clip_id, step)
    if not shares:
        return texts[int(torch.randint(len(texts), (), generator=generator))]
    return texts[int(torch.multinomial(torch.tensor(shares), 1, generator=generator))]


def ahead(steps: Iterable[T], count: int = AHEAD) -> Generator[T, None, None]:
    """The same steps in the same order, up to `count` of them made in advance. What making one raises is raised here.

    Whoever may leave before the last step closes it: the thread ends then.
    """
    ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(count)
    stopped = threading.Event()

    def put(step: Any, error: BaseException | None = None) -> bool:
        """Whether anyone still wants it."""
        while not stopped.is_set():
            try:
                ready.put((step, error), timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for step in steps:
                if not put(step):
                    return
            put(_END)
        except BaseException as error:
            put(_END, error)

    worker = threading.Thread(target=work, name="steps ahead", daemon=True)
    worker.start()
    try:
        while True:
            step, error = ready.get()
            if error is not None:
                raise error
            if step is _END:
                return
            yield step
    finally:
        stopped.set()
        worker.join(timeout=10)
