"""A transformer trained in shards over two processes is the one that a single process trains, wherever each goes on."""

from __future__ import annotations

import json
import os
import shutil
import socket
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.training.conftest import TrainingWorld
from training.config import TrainConfig
from training.fit import fit
from training.trainer import learner
from training.trainer.metrics import RunLogger

SHAPE = {"width": 48, "layers": 3, "heads": 2}
# weights and steps are compared where rounding is all that differs: not after a norm of almost nothing was divided by
SAME = {"rtol": 0.0, "atol": 2e-5}


def in_one(config: TrainConfig, until: int | None = None) -> dict[str, Any]:
    assert fit(config, RunLogger(Path(config.run_dir)), until) == 0
    return read(config)


def read(config: TrainConfig) -> dict[str, Any]:
    return json.loads((Path(config.run_dir) / "result.json").read_text())


def watched_fit(config: TrainConfig, until: int | None) -> int:
    """What each of the two processes runs; beside the run it leaves how much of the model it held."""

    def watched(model: Any, mesh: Any) -> Any:
        sharded = real(model, mesh)
        held = sum(p.to_local().numel() for p in model.parameters()) / sum(p.numel() for p in model.parameters())
        Path(f"{config.run_dir}-held-{os.environ['RANK']}.json").write_text(json.dumps(held))
        return sharded

    real, learner.shard = learner.shard, watched
    return fit(config, RunLogger(Path(config.run_dir), int(os.environ["RANK"])), until)


def fit_with_another_opinion(config: TrainConfig, _: None) -> int:
    """What each of two processes runs where they measure apart: for the first step 2 is the best, for the second step 6."""
    measured = ({2: 0.5}, {6: 0.1})[int(os.environ["RANK"])]
    real = learner.TransformerLearner.heldout

    def heldout(learner: Any) -> dict[str, float]:
        real(learner)  # in shards all processes measure together
        return {"heldout/flow_loss": measured.get(learner.average.updates, 1.0)}

    learner.TransformerLearner.heldout = heldout
    return fit(config, RunLogger(Path(config.run_dir), int(os.environ["RANK"])))


def in_two(config: TrainConfig, until: int | None = None, runs: Callable[..., int] = watched_fit) -> dict[str, Any]:
    """The run by two processes as `torchrun` would start them, but forked: loading PyTorch takes longer than the run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    same = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    children = []
    for rank in ("0", "1"):
        if (child := os.fork()) == 0:
            code = 1
            try:
                os.environ.update(same | {"RANK": rank, "LOCAL_RANK": rank, "TORCHELASTIC_RUN_ID": "test"})
                code = runs(config, until)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    return read(config)


def weights(config: TrainConfig) -> dict[str, torch.Tensor]:
    return load_file(Path(config.run_dir) / "transformer.safetensors")


def copied(config: TrainConfig, name: str) -> TrainConfig:
    target = Path(config.run_dir).with_name(name)
    shutil.copytree(config.run_dir, target)
    return replace(config, run_dir=str(target))


@pytest.mark.slow
def test_two_processes_in_shards_train_the_model_of_one_and_either_goes_on_from_them(world: TrainingWorld) -> None:
    settings: dict[str, Any] = {"steps": 6, "batch_tokens": 240, "transformer_shape": SHAPE, "strategy": "fsdp"}
    alone = world.flow_config("alone", **settings)
    sharded = world.flow_config("sharded", **settings)
    expected_result = in_one(alone)
    assert in_two(sharded, until=3)["stopped"] == "interrupted after step 3"
    for rank in (0, 1):
        assert json.loads(Path(f"{sharded.run_dir}-held-{rank}.json").read_text()) < 0.6
    by_one = copied(sharded, "by-one")
    for config, result in ((by_one, in_one(by_one)), (sharded, in_two(sharded))):
        assert (result["resumed_from_step"], result["stopped"]) == (3, None)
        assert result["parameters"] == expected_result["parameters"]
        assert result["best_step"] == expected_result["best_step"]
        for when in ("start", "end", "last"):
            assert result[when]["heldout/flow_loss"] == pytest.approx(
                expected_result[when]["heldout/flow_loss"], rel=1e-5
            )
        trained, expected = weights(config), weights(alone)
        assert trained.keys() == expected.keys()
        for name, tensor in expected.items():
            torch.testing.assert_close(trained[name], tensor, **SAME, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_the_first_process_decides_for_all_which_step_is_the_best_and_when_to_end(
    world: TrainingWorld, strategy: str
) -> None:
    settings: dict[str, Any] = {
        "steps": 12,
        "eval_every": 2,
        "patience": 2,
        "checkpoint_every": 2,
        "strategy": strategy,
    }
    config = world.flow_config("apart", batch_tokens=240, transformer_shape=SHAPE, **settings)
    result = in_two(config, runs=fit_with_another_opinion)
    assert (result["stopped"], result["steps"], result["best_step"], result["early_stop"]) == (None, 6, 2, True)
    (kept, _) = sorted((Path(config.run_dir) / "checkpoints").iterdir())
    assert kept.name == "step-00000004"
    best = load_file(kept / "best.safetensors")
    for name, tensor in weights(config).items():
        torch.testing.assert_close(best[name], tensor, rtol=0, atol=0, msg=name)
    assert any(not torch.equal(tensor, best[name]) for name, tensor in load_file(kept / "ema.safetensors").items())
