"""A model trained in shards over two processes is the model that one process trains, and one process goes on from it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed
from safetensors.torch import load_file, save_file

from training.conditioning import numbers
from training.config import TransformerConfig
from training.flow import keyed
from training.packing import Batch, Sample, collate
from training.shards import gathered, shard, spread
from training.transformer import Transformer, positions

ROOT = Path(__file__).parents[2]
CONFIG = TransformerConfig(width=16, layers=2, heads=2, channels=4, text_width=12)
GRIDS = ((2, 2, 2), (1, 3, 2))


def start() -> tuple[Transformer, torch.optim.Optimizer]:
    model = Transformer(CONFIG)
    for name, parameter in model.named_parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=keyed(name))
    return model, torch.optim.AdamW(model.parameters(), lr=1e-2)


def pack() -> Batch:
    samples = []
    for index, grid in enumerate(GRIDS):
        tokens = grid[0] * grid[1] * grid[2]
        x_NP = torch.randn(tokens, CONFIG.token_values, generator=keyed("x", index))
        text_MT = torch.randn(3, 12, generator=keyed("text", index))
        samples.append(Sample(f"{index}", x_NP, grid, positions(grid, 0.5), text_MT, numbers({"fps": 8})))
    return collate(samples)


def train(model: Transformer, optimizer: torch.optim.Optimizer, steps: int) -> None:
    batch = pack()
    given_N, t_F = torch.zeros(len(batch.x_NP), dtype=torch.bool), torch.full((len(batch.segment_F),), 0.5)
    for _ in range(steps):
        optimizer.zero_grad()
        (model(batch.x_NP, t_F, given_N, batch) - batch.x_NP).square().mean().backward()
        optimizer.step()


def two_processes(folder: Path) -> None:
    """What each of the two runs: three steps in shards, then a checkpoint of whole tensors."""
    torch.distributed.init_process_group("gloo")
    model, _ = start()
    shard(model, "cpu")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    held = sum(p.to_local().numel() for p in model.parameters())
    assert held < 0.7 * sum(p.numel() for p in model.parameters())
    train(model, optimizer, 3)
    weights, moments = gathered(model, optimizer)
    if torch.distributed.get_rank() == 0:
        save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / "weights.safetensors")
        torch.save(moments, folder / "optimizer.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_one_process_goes_on_from_what_two_trained_in_shards(tmp_path: Path) -> None:
    script = tmp_path / "run.py"
    script.write_text(
        f"from pathlib import Path\nfrom tests.training.test_shards import two_processes\n"
        f"two_processes(Path({str(tmp_path)!r}))\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    model, optimizer = start()
    weights = load_file(tmp_path / "weights.safetensors")
    spread(model, optimizer, weights, torch.load(tmp_path / "optimizer.pt", weights_only=True))
    train(model, optimizer, 2)
    alone, alone_optimizer = start()
    train(alone, alone_optimizer, 5)
    assert weights.keys() == alone.state_dict().keys()
    for name, parameter in alone.named_parameters():
        torch.testing.assert_close(model.get_parameter(name), parameter, rtol=0, atol=1e-5, msg=name)
