"""One training of a home at a time, which ends with whoever launched it: also when that one is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from assets.home import Home
from assets.model.launch import Busy, alone
from training.process import LIFELINE

ROOT = Path(__file__).resolve().parents[3]
TRAINS = "from training import process; process.hold_on(); print('up', flush=True); import time; time.sleep(60)"
# starts a training as `torchrun` does: by a process between that knows of no lifeline; prints once all of it is up
LAUNCHER = f"""
import subprocess, sys, time
from pathlib import Path
from assets.home import Home
from assets.model.launch import alone
between = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
with alone(Home.local(Path(sys.argv[1]))):
    command = [sys.executable, "-c", between, {TRAINS!r}]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as training:
        print(training.stdout.readline(), flush=True)
        time.sleep(60)
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.local(tmp_path / "home")


def test_a_second_training_of_a_home_waits_and_then_says_who_is_busy(home: Home) -> None:
    with alone(home), pytest.raises(Busy, match=f"process {os.getpid()}"), alone(home, patience_s=0.3):
        pass
    with alone(home):
        assert LIFELINE in os.environ
    assert LIFELINE not in os.environ


def test_a_training_ends_with_its_launcher_before_the_next_begins(home: Home) -> None:
    command = [sys.executable, "-c", LAUNCHER, str(home.state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as launcher:
        assert launcher.stdout
        assert launcher.stdout.readline() == "up\n"
        started = psutil.Process(launcher.pid).children(recursive=True)
        assert len(started) == 2
        with pytest.raises(Busy), alone(home, patience_s=0.3):
            pass
        launcher.kill()
        with alone(home, patience_s=20):
            alive = [process for process in started if process.is_running() and process.status() != "zombie"]
            assert len(alive) <= 1, "the one between may still be about to end"
        assert psutil.wait_procs(started, timeout=10)[1] == []


def test_a_training_whose_launcher_is_gone_already_does_not_begin(home: Home) -> None:
    env = os.environ | {LIFELINE: str(home.state / "gone"), "RUSHES_TRAINING_PRESENCE": str(home.state / "present")}
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", TRAINS], env=env, cwd=ROOT, check=False, timeout=30)
    assert done.returncode == 75
    assert time.monotonic() - started < 20
