"""What a run says of itself: metrics.jsonl and result.json for machines, a bar and lines for people, and how fast it is.

`RunLogger` is a Lightning logger, so any other of Lightning's can stand beside it. The graph reads its file while the run
goes on, so each record is one appended line; Lightning's CSVLogger writes all of them again, in columns. Under Dagster
Pipes the same lines also go to the run's log.

`Meter` counts useful operations as `model.cost` does. Lightning's ThroughputMonitor takes twice the real peak of an H200 (it
counts structured sparsity), and does not tell a wait for data from work.
"""

from __future__ import annotations

import json
import math
import os
import resource
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.loggers.logger import Logger

from training.data.packing import Batch
from training.model import cost
from training.model.config import TransformerConfig
from training.process import Bar, write_json

# Dense peak rates in operations a second, tensor cores at bf16. NVIDIA's data sheets print the double, with sparsity.
PEAKS = {"H200": 989e12, "H100": 989e12, "GH200": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12}


class RunLogger(Logger):
    """Writes a run's numbers. Silent where `rank` is not 0."""

    name = "run"
    version = ""

    def __init__(self, run_dir: Path, rank: int = 0, pipes: Any = None) -> None:
        super().__init__()
        self.run_dir, self.rank, self.pipes = run_dir, rank, pipes
        self.started = time.monotonic()
        self.bar: Bar | None = None
        run_dir.mkdir(parents=True, exist_ok=True)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.started

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Append one line to metrics.jsonl."""
        if self.rank == 0:
            record = {"step": step, "time_s": round(self.seconds, 3), **metrics}
            with (self.run_dir / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(record) + "\n")

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """The run's configuration is a file already."""

    def say(self, text: str, values: Mapping[str, Any] | None = None) -> None:
        """One line to standard output and, under Pipes, to Dagster's log."""
        if self.rank:
            return
        if self.bar is None:
            print(text, flush=True)
        else:
            self.bar.say(text)
        if self.pipes is not None:
            self.pipes.log.info(text)
            if values:
                self.pipes.report_custom_message(dict(values))

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def result(self, values: Mapping[str, Any]) -> None:
        """Write result.json, atomically. NaN is not JSON and becomes null."""
        if self.rank == 0:
            write_json(self.run_dir / "result.json", _plain(values), sort_keys=True)


@contextmanager
def run_logger(run_dir: Path, rank: int = 0) -> Iterator[RunLogger]:
    """A RunLogger that is connected to Dagster where a Pipes session has started this process."""
    with _pipes() if rank == 0 else nullcontext() as pipes, closing(RunLogger(run_dir, rank, pipes)) as logger:
        yield logger


def _pipes() -> Any:
    """The open Pipes session, or a context that holds None. Needed only where Dagster started the process."""
    if "DAGSTER_PIPES_CONTEXT" not in os.environ:
        return nullcontext()
    from dagster_pipes import open_dagster_pipes

    return open_dagster_pipes()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


class Meter:
    """Call `begins` and `ends` around each step, `pause` once what follows it is done; `read` gives and resets.

    Measuring and saving between steps count neither as work nor as a wait for data.
    """

    def __init__(self, device: torch.device, budget: int) -> None:
        self.device, self.budget, self.mark = device, budget, time.perf_counter()
        self._reset()

    def _reset(self) -> None:
        self.tokens = self.flops = self.steps = self.offered = 0
        self.working = self.waiting = 0.0

    def begins(self) -> None:
        """The step's data are here."""
        self.waiting += self.pause()

    def ends(self, tokens: int, flops: int) -> None:
        """The step is done, with its tokens and operations (0: not counted)."""
        self.working += self.pause()
        self.tokens, self.flops, self.steps = self.tokens + tokens, self.flops + flops, self.steps + 1
        self.offered += max(tokens, self.budget)

    def pause(self) -> float:
        """Start the clock anew: what was done until now is not the next step's. Returns the seconds."""
        before, self.mark = self.mark, time.perf_counter()
        return self.mark - before

    def read(self) -> dict[str, float]:
        """The figures since the last reading; empty before a step is done."""
        if not self.steps:
            return {}
        seconds = max(self.working + self.waiting, 1e-9)
        figures = {
            "train/tokens_per_s": self.tokens / seconds,
            "train/padding": 1 - self.tokens / self.offered,  # of the token budget, what no clip filled
            "train/waiting": self.waiting / seconds,  # for data
            "train/memory_gb": self._memory(),
        }
        if self.flops:
            figures["train/mfu"] = self.flops / seconds / peak_flops(self.device)
        self._reset()
        return figures

    def _memory(self) -> float:
        """The most that was held so far: on the GPU, or by this process."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 1e9
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def forward_flops(config: TransformerConfig, batch: Batch) -> int:
    """Operations of one forward pass over a pack."""
    return cost.learned_flops(config, _load(batch)) + cost.gaussian_flops(config, _load(batch))


def step_flops(config: TransformerConfig, batch: Batch) -> int:
    """Operations of one training step on a pack."""
    return cost.training_flops(config, _load(batch))


def _load(batch: Batch) -> cost.Load:
    return cost.Load(batch.segments.lengths, batch.text_segments.lengths, len(batch.segment_F))


@cache
def peak_flops(device: torch.device) -> float:
    """Operations a second at best: a GPU's dense bf16 peak, else what a large product reaches here, measured once.

    A GPU that is not in PEAKS is measured by a bf16 product, a CPU by an fp32 one.
    """
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        if peaks := [peak for part, peak in PEAKS.items() if part in name.split()]:
            return peaks[0]
        return matmul_flops(8192, torch.bfloat16, device)
    return matmul_flops(1024, torch.float32, device)


def matmul_flops(size: int, dtype: torch.dtype, device: torch.device, repeats: int = 3) -> float:
    """Operations a second of a square product: the best of some runs."""
    generator = torch.Generator(device).manual_seed(0)  # the process's own random state stays as it is
    a, b = torch.randn(2, size, size, generator=generator, device=device, dtype=dtype).unbind()
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best
