"""How much of the processor a training step uses, against its own fp32 product. What a GPU does is in `gpu`.

Every ratio is of one run. Steps and products take turns on one thread and are counted in that thread's CPU seconds; the
least of each is what they take when no other process is in the way, the median is beside it. Data come from files, through
the trainer, and what a step waits for them is in wall seconds.

OMP_NUM_THREADS=1 python -m tests.benchmarks training_speed
"""

from __future__ import annotations

import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer
from safetensors.torch import save_file

from training.config import TrainConfig
from training.data.clips import Encoded, LatentClips
from training.data.packing import Cursor
from training.data.steps import FlowStep, ahead, flow_steps
from training.model import flow
from training.model.config import LADDER
from training.model.text import text_key
from training.process import keep_freed_memory
from training.trainer.learner import TransformerLearner
from training.trainer.metrics import Meter, step_flops

TARGETS_CPU = {"nano": 0.50, "micro": 0.60}
PROCESSOR = {"nano": (2560, 24), "micro": (1280, 12)}  # tokens a step, and steps
GRID = (5, 4, 4)  # 17 frames at 64 px: 80 tokens
CAPTIONS = ("a red ball rolls to the right", "two blue cubes fall beside a green ball in the evening", "waves")


def training_speed() -> dict[str, Any]:
    torch.set_num_threads(1)
    keep_freed_memory()  # as `training.fit` does
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        return {"processor": {name: on_processor(name, *size) for name, size in PROCESSOR.items()}}


class Turns(Callback):
    """Measures each step, and after each step a product."""

    def __init__(self, learner: TransformerLearner, budget: int) -> None:
        self.a, self.b = torch.randn(2, 1024, 1024).unbind()
        self.meter = Meter(torch.device("cpu"), budget)
        self.learner, self.steps, self.products, self.flops = learner, [], [], []  # type: ignore[var-annotated]

    def on_train_batch_start(self, *_: Any) -> None:
        self.meter.begins()
        self.began = time.thread_time()

    def on_train_batch_end(self, *_: Any) -> None:
        self.steps.append(time.thread_time() - self.began)
        self.meter.ends(self.learner.last.tokens, 0)
        self.flops.append(step_flops(self.learner.model.config, self.learner.last.batch))
        began = time.thread_time()
        for _ in range(4):
            self.a @ self.b
        self.products.append((time.thread_time() - began) / 4)
        self.meter.pause()


def on_processor(name: str, tokens: int, steps: int) -> dict[str, Any]:
    """A run of the real trainer on cached latents of this size of model."""
    with tempfile.TemporaryDirectory() as folder:
        config, clips = cached(Path(folder), name, tokens, steps, clips=4 * tokens // 80)
        turns = trained(config, clips, ahead)
        alone = trained(replace(config, steps=max(4, steps // 4)), clips, iter)
    rates = [flops / seconds for flops, seconds in zip(turns.flops[2:], turns.steps[2:], strict=True)]
    products = [2 * 1024**3 / seconds for seconds in turns.products[2:]]
    figures = turns.meter.read()
    best, median = (round(f(rates) / f(products), 3) for f in (max, statistics.median))
    return {
        "tokens_a_step": tokens,
        "steps": steps,
        "gflop_a_step": round(turns.flops[-1] / 1e9, 2),
        "step_gflop_per_cpu_s": {"best": round(max(rates) / 1e9, 1), "median": _median(rates)},
        "product_gflop_per_cpu_s": {"best": round(max(products) / 1e9, 1), "median": _median(products)},
        "share_of_product_rate": {"best": best, "median": median},
        "wanted": TARGETS_CPU[name],
        "reached": best >= TARGETS_CPU[name],
        "waiting_share": {
            "ahead": round(figures["train/waiting"], 4),
            "when_asked": round(alone.meter.read()["train/waiting"], 4),
        },
        "padding": round(figures["train/padding"], 4),
        "peak_memory_gb": round(figures["train/memory_gb"], 2),
    }


def _median(rates: Sequence[float]) -> float:
    return round(statistics.median(rates) / 1e9, 1)


def cached(folder: Path, name: str, tokens: int, steps: int, clips: int) -> tuple[TrainConfig, LatentClips]:
    """Latents and caption tokens as `training.encode` leaves them, of noise, and a configuration of their run."""
    shape, members = LADDER[name].transformer, []
    t, h, w = GRID
    for i in range(clips):
        latent = torch.randn(shape.channels, t, h * shape.patch, w * shape.patch, generator=flow.keyed("latent", i))
        save_file({"latent": latent}, folder / f"{i:04}.safetensors", {"fps": "8", "motion": "20"})
        members.append({"clip_id": f"{i:04}", "caption": CAPTIONS[i % len(CAPTIONS)]})
    for caption in CAPTIONS:
        words = torch.randn(2 + len(caption.split()), shape.text_width, generator=flow.keyed(caption))
        save_file({"tokens": words}, folder / f"{text_key(caption)}.safetensors")
    places: dict[str, Any] = dict.fromkeys(("run_dir", "latents_dir", "codec_dir", "text_dir"), str(folder))
    places |= {"manifest": "never read", "snapshot_root": "", "database_url": ""}
    config = TrainConfig("transformer", size=name, steps=steps, batch_tokens=tokens, **places)
    return config, LatentClips(Encoded(folder, folder, shape.patch, 4), members)


def trained(
    config: TrainConfig, clips: LatentClips, reading: Callable[[Iterator[FlowStep]], Iterator[FlowStep]]
) -> Turns:
    """The steps of a run, read this way, through Lightning."""
    learner = TransformerLearner(config, LADDER[config.size].transformer, [])
    turns = Turns(learner, config.batch_tokens)
    off: dict[str, Any] = {f"enable_{name}": False for name in ("checkpointing", "progress_bar", "model_summary")}
    trainer = Trainer(accelerator="cpu", max_epochs=1, callbacks=[turns], logger=False, **off)
    trainer.fit(learner, train_dataloaders=reading(flow_steps(config, clips, Cursor(), 1)))
    return turns
