"""A training run: what it leaves behind, how it resumes, and when it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from tests.training.conftest import TrainingWorld
from training.fit import fit
from training.reporting import Reporter


def run(config, until=None) -> tuple[int, dict]:
    code = fit(config, Reporter(Path(config.run_dir)), until)
    return code, json.loads((Path(config.run_dir) / "result.json").read_text())


def weights(folder: str | Path) -> dict[str, torch.Tensor]:
    return {p.name: load_file(p) for p in Path(folder).glob("*.safetensors")}["transformer.safetensors"]


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


def test_a_codec_run_leaves_weights_metrics_and_a_result(world: TrainingWorld) -> None:
    code, result = run(world.config())
    assert code == 0
    assert result["stopped"] is None
    assert result["end"]["heldout/psnr_db"] > 20
    run_dir = Path(world.config().run_dir)
    assert {p.name for p in run_dir.iterdir()} >= {"codec.safetensors", "codec.json", "metrics.jsonl", "checkpoints"}
    records = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert records[0]["step"] == 0
    assert "heldout/psnr_db" in records[0]
    assert sum("train/loss" in record for record in records) == 6


def test_six_steps_equal_three_and_three_after_a_resume_to_the_last_bit(encoded_world: TrainingWorld) -> None:
    whole = encoded_world.flow_config("whole")
    assert run(whole)[0] == 0
    parted = encoded_world.flow_config("parted")
    code, result = run(parted, until=3)
    assert code == 0
    assert result["stopped"] == "interrupted after step 3"
    code, result = run(parted)
    assert (code, result["resumed_from_step"], result["stopped"]) == (0, 3, None)
    assert_same(weights(whole.run_dir), weights(parted.run_dir))


def test_a_revoked_consent_stops_the_run_before_its_first_step(encoded_world: TrainingWorld) -> None:
    encoded_world.people.revoke(encoded_world.consents[0])
    code, result = run(encoded_world.flow_config())
    assert code == 3
    assert len(result["reasons"]) == 1
    assert not (Path(encoded_world.flow_config().run_dir) / "checkpoints").exists()
