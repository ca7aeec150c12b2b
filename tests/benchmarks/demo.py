"""The demo from an empty home: how long it takes, what it learns, and how long the second time takes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from orchestration.resources import open_home
from orchestration.settings import Settings
from orchestration.status import read_status


def run(home: Path) -> float:
    """Wall seconds of one demo."""
    started = time.monotonic()
    env = os.environ | {"RUSHES_HOME": str(home)}
    subprocess.run([sys.executable, "-m", "orchestration.cli", "demo"], env=env, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - started


def demo() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        first = run(home)
        settings = Settings.load(home=str(home))
        after_first = read_status(open_home(settings))
        second = run(home)
        after_second = read_status(open_home(settings))
    assert after_first.snapshot
    assert after_second.snapshot
    flow, psnr = after_first.losses["transformer flow_loss"], after_first.losses["codec psnr_db"]
    return {
        "first_s": round(first),
        "accepted_first_s": 12 * 60,
        "second_s": round(second),
        "second_over_first": round(second / first, 2),
        "same_snapshot_root": after_first.snapshot["root"] == after_second.snapshot["root"],
        "clips": after_first.clips,
        "eligible": after_first.eligible,
        "heldout_flow_loss_start": round(flow[0], 4),
        "heldout_flow_loss_end": round(flow[1], 4),
        "heldout_flow_loss_end_over_start": round(flow[1] / flow[0], 3),
        "heldout_psnr_db": round(psnr[1], 2),
    }
