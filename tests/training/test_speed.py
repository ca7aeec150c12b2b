"""Operations are counted as PyTorch counts them, figures are of what was measured, and steps are made ahead."""

from __future__ import annotations

import io
import json
import platform
import subprocess
import sys
import threading
import time
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from tests.benchmarks import gpu
from tests.training.conftest import TrainingWorld
from training.data.packing import Batch, Sample, collate
from training.data.steps import ahead
from training.fit import fit
from training.model import flow
from training.model.conditioning import numbers
from training.model.config import LADDER, TransformerConfig
from training.model.layers import RmsNorm
from training.model.transformer import Transformer, positions
from training.process import Bar
from training.trainer import metrics as throughput
from training.trainer.learner import compile_blocks
from training.trainer.metrics import Meter, RunLogger, forward_flops, matmul_flops, peak_flops, step_flops


def packed(config: TransformerConfig, *grids: tuple[int, int, int], text: int = 12) -> Batch:
    samples = []
    for i, grid in enumerate(grids):
        n = grid[0] * grid[1] * grid[2]
        x_NP = torch.randn(n, config.token_values, generator=flow.keyed("speed", i))
        text_MT = torch.randn(text + i, config.text_width)
        samples.append(Sample(f"c{i}", x_NP, grid, positions(grid, 0.5), text_MT, numbers({})))
    return collate(samples)


def counted(config: TransformerConfig, batch: Batch) -> tuple[int, int]:
    """What PyTorch counts of a forward pass, and of a whole step."""
    model = Transformer(config)
    t_F = torch.rand(len(batch.segment_F))
    given_N = torch.zeros(len(batch.x_NP), dtype=torch.bool)
    # plain products: PyTorch has no formula for the CPU's flash kernel
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as forward:
        v_NP = model(batch.x_NP, t_F, given_N, batch)
    with FlopCounterMode(display=False) as backward:
        v_NP.square().mean().backward()
    return forward.get_total_flops(), forward.get_total_flops() + backward.get_total_flops()


@pytest.mark.parametrize(
    "grids", [((5, 4, 4),) * 4, ((5, 8, 8), (1, 2, 2), (3, 4, 6))], ids=["one length", "packed lengths"]
)
def test_the_formula_agrees_with_pytorchs_count_within_a_percent(grids: tuple) -> None:
    for config in (LADDER["nano"].transformer, TransformerConfig(96, 2, 3, patch=1, channels=8, mlp_ratio=2)):
        batch = packed(config, *grids)
        forward, step = counted(config, batch)
        assert forward_flops(config, batch) == pytest.approx(forward, rel=0.01)
        assert step_flops(config, batch) == pytest.approx(step, rel=0.01)


def test_attention_counts_within_segments_alone() -> None:
    config = LADDER["nano"].transformer
    together, apart = packed(config, (8, 4, 4), text=8), packed(config, (4, 4, 4), (4, 4, 4), text=8)
    apart = replace(apart, text_segments=type(apart.text_segments)((4, 4)))
    more = forward_flops(config, together) - forward_flops(config, apart)
    attention = 4 * config.width * config.layers * (128**2 - 2 * 64**2 + 128 * 8 - 2 * 64 * 4)
    rest = attention - more  # text and captions, of which there are more beside two samples
    assert 0 <= rest < 0.01 * forward_flops(config, together) + 4 * 13 * config.width**2 * config.layers


def test_the_peak_of_a_processor_is_measured() -> None:
    assert peak_flops(torch.device("cpu")) > 1e9
    assert matmul_flops(64, torch.float32, torch.device("cpu")) > 1e6


def test_a_meter_tells_work_from_waiting_and_from_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 4.0, 100.0, 101.0, 104.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    meter = Meter(torch.device("cpu"), budget=100)
    monkeypatch.setattr(throughput, "peak_flops", lambda device: 1000.0)
    meter.begins()
    meter.ends(80, 1500)
    meter.pause()
    meter.begins()
    meter.ends(120, 1500)
    figures = meter.read()
    assert figures["train/tokens_per_s"] == pytest.approx(200 / 8)
    assert figures["train/waiting"] == pytest.approx(2 / 8)
    assert figures["train/mfu"] == pytest.approx(3000 / 8 / 1000)
    assert figures["train/padding"] == pytest.approx(1 - 200 / 220)
    assert figures["train/memory_gb"] > 0.01
    assert meter.read() == {}


def test_steps_are_made_ahead_in_order_and_no_further() -> None:
    made: list[int] = []

    def steps():
        for i in range(20):
            made.append(i)
            yield i

    ready = ahead(steps(), 2)
    assert next(ready) == 0
    time.sleep(0.3)
    assert len(made) <= 4
    assert list(ready) == list(range(1, 20))


def test_what_making_a_step_raises_is_raised_where_it_is_used() -> None:
    def steps():
        yield 1
        raise KeyError("clip")

    ready = ahead(steps())
    assert next(ready) == 1
    with pytest.raises(KeyError, match="clip"):
        next(ready)


def test_leaving_early_ends_the_thread() -> None:
    others = set(threading.enumerate())
    ready = ahead(iter(range(1000)))
    next(ready)
    assert set(threading.enumerate()) > others
    ready.close()
    assert set(threading.enumerate()) <= others


@pytest.mark.parametrize("shape", [(7, 16), (5, 3, 32)])
def test_rms_norm_and_its_gradients_are_pytorchs(shape: tuple[int, ...]) -> None:
    ours, theirs = RmsNorm(shape[-1]), torch.nn.RMSNorm(shape[-1], eps=1e-6)
    weight = torch.rand(shape[-1])
    gradients = []
    for norm in (ours, theirs):
        norm.weight.data.copy_(weight)
        x = torch.randn(shape, generator=flow.keyed("norm")).requires_grad_()
        y = norm(x)
        (y * torch.randn(shape, generator=flow.keyed("gradient"))).sum().backward()
        gradients.append((y.detach(), x.grad, norm.weight.grad))
    for own, other in zip(*gradients, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-5, atol=1e-5)


def test_a_run_writes_its_speed_beside_its_loss(world: TrainingWorld) -> None:
    config = world.flow_config(steps=4)
    assert fit(config, RunLogger(Path(config.run_dir))) == 0
    lines = [json.loads(line) for line in (Path(config.run_dir) / "metrics.jsonl").read_text().splitlines()]
    last = [line for line in lines if "train/loss" in line][-1]
    for name in ("tokens_per_s", "mfu", "padding", "waiting", "memory_gb"):
        assert last[f"train/{name}"] >= 0
    assert 0 < last["train/mfu"] < 1.5
    assert last["train/waiting"] < 1


def test_a_bar_says_how_far_and_lets_lines_through(capsys: pytest.CaptureFixture[str]) -> None:
    shown = io.StringIO()
    with redirect_stderr(shown):
        bar = Bar("transformer", 10, done=4, shown=True)
        bar(loss="0.5")
        bar.say("step 5")
        bar.close()
    assert "5/10" in shown.getvalue()
    assert "loss=0.5" in shown.getvalue()
    assert "step 5" in capsys.readouterr().out


@pytest.mark.slow
def test_compiled_blocks_compute_the_same_and_other_packs_are_not_compiled_anew() -> None:
    config = TransformerConfig(width=32, layers=2, heads=2, channels=4)
    torch.manual_seed(0)
    plain = Transformer(config)
    for parameter in plain.parameters():
        parameter.data.normal_(std=0.1)
    compiled = Transformer(config)
    compiled.load_state_dict(plain.state_dict())
    frames: list[int] = []

    def backend(graph: torch.fx.GraphModule, _: object) -> object:
        frames.append(len(graph.graph.nodes))
        return graph.forward

    torch._dynamo.reset()
    compile_blocks(compiled, backend)
    first = None
    for grids in (((3, 2, 2), (2, 2, 2)), ((2, 3, 4), (1, 2, 2), (4, 2, 2)), ((5, 2, 3),)):
        batch = packed(config, *grids)
        t_F, given_N = torch.rand(len(batch.segment_F)), torch.zeros(len(batch.x_NP), dtype=torch.bool)
        torch.testing.assert_close(
            compiled(batch.x_NP, t_F, given_N, batch), plain(batch.x_NP, t_F, given_N, batch), rtol=1e-5, atol=1e-5
        )
        first = first or len(frames)
    assert first > 0
    assert len(frames) <= 2 * first
    assert compiled.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.slow
def test_what_the_gpu_benchmark_runs_runs_on_a_processor() -> None:
    report = gpu.gpu(dry=True)
    unmeasured = {name: part["why"] for name, part in report["parts"].items() if "why" in part}
    assert not unmeasured
    assert all(case["reached"] for case in report["parts"]["attention_parity"].values())
    assert report["parts"]["utilisation"]["tiny"]["tokens_a_step"] == 24
    assert report["parts"]["packing"]["over_ltx_of_equal_shape"]["value"] != 0
    assert report["parts"]["sampling"]["tiny"]["seconds"] >= 0
    grids = gpu.mixed(65_536)
    assert len(set(grids)) == len(gpu.MIXED)
    assert 0.95 * 65_536 < sum(t * h * w for t, h, w in grids) <= 65_536


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU to measure")
def test_without_a_gpu_its_figures_say_not_measured() -> None:
    report = gpu.gpu()
    assert report["state"] == "not measured"
    assert set(report["parts"].values()) == {"not measured"}
    assert len(report["parts"]) == 5


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library has no such setting")
def test_a_process_that_keeps_its_memory_meets_few_page_faults_again() -> None:
    program = """
import resource, torch
from training.process import keep_freed_memory
assert keep_freed_memory()
for step in range(40):
    if step == 20:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    parts = [torch.ones(1_000_000 + 1000 * i) for i in range(8)]
    del parts
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    pages = 20 * 8 * 4_000_000 // 4096  # that come anew where the C library gives all of them back
    assert int(done.stdout) < pages / 100
