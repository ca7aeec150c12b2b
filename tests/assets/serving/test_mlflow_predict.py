"""`mlflow models predict` on the champion, with the real sampler over untrained weights: a marked file comes out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from assets.marks.marking import read_marks
from assets.registry.versions import CHAMPION, Registry
from assets.serving import serve

TAGS = {"model_key": "m-1", "snapshot_root": "ab" * 32, "ledger_checkpoint": "7:" + "cd" * 32}


@pytest.mark.slow
def test_mlflow_predicts_a_marked_video_from_the_command_line_and_none_of_a_tainted_version(
    registry: Registry, untrained: Path, tmp_path: Path
):
    version = serve.register(registry, registry.start_run("m-1", "m-1"), untrained, TAGS)
    registry.set_alias(CHAMPION, version)
    request, response = tmp_path / "in.json", tmp_path / "out.json"
    request.write_text(json.dumps({"dataframe_records": [{"prompt": "a red ball", "seed": 1, "steps": 2}]}))
    command = [
        *(sys.executable, "-m", "mlflow", "models", "predict", "-m", "models:/video-transformer@champion"),
        *("-i", str(request), "-o", str(response), "--env-manager", "local"),
    ]
    settings = {"MLFLOW_TRACKING_URI": registry.home.mlflow_uri, "RUSHES_TEXT_ENCODER": str(registry.home.text_encoder)}

    def asked() -> subprocess.CompletedProcess[str]:
        environment = os.environ | settings
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, cwd=tmp_path)

    done = asked()
    assert done.returncode == 0, done.stderr[-3000:]
    (row,) = json.loads(response.read_text())["predictions"]
    assert row["prompt"] == "a red ball"
    marks = read_marks(Path(row["path"]), registry.home.signing)
    assert marks.complete, marks.problems

    response.unlink()
    registry.tag(version, "taint", "consent k-1 revoked")
    done = asked()
    assert done.returncode != 0
    assert f"version {version} must not serve: consent k-1 revoked" in done.stderr
    assert not response.exists()
