"""A child limits itself, shows that it is alive, and does not outlive whoever waits for its answer."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from assets.decode.limits import Limits
from assets.decode.process import PULSE_S, Child, ChildFailed
from assets.reasons import Code

CHILD = """
import os, time
from assets.decode.worker import serve

def answer(request, limits, pulse):
    end = time.monotonic() + request["seconds"]
    while time.monotonic() < end:
        if not request["burns"]:
            time.sleep(0.02)
        pulse()
    return os.environ.get("AWS_SECRET_ACCESS_KEY", "no secret")

serve(answer)
"""
PARENT = """
import sys
from assets.decode.limits import Limits
from assets.decode.process import Child

child = Child((sys.executable, sys.argv[1]), Limits())
print(child.process.pid, flush=True)
child.ask({"seconds": 600, "burns": False})
"""


@pytest.fixture
def command(tmp_path: Path) -> tuple[str, ...]:
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    return sys.executable, str(script)


def test_a_child_that_goes_on_may_take_longer_than_it_may_be_silent(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    silent_s = PULSE_S + 1.5
    child = Child(command, Limits(stall_s=silent_s))
    try:
        assert child.ask({"seconds": silent_s + 1, "burns": False}) == "no secret"
    finally:
        child.close()


def test_signs_of_life_do_not_buy_more_processor_time_than_a_file_may_take(command: tuple[str, ...]) -> None:
    child = Child(command, Limits(cpu_s=1, stall_cpu_s=120, wall_s=120.0))
    with pytest.raises(ChildFailed, match="more processor time") as failed:
        child.ask({"seconds": 60, "burns": True})
    child.close()
    assert failed.value.code is Code.TIMEOUT


def test_a_child_ends_soon_after_its_parent_though_its_file_goes_on(command: tuple[str, ...], tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, str(script), command[-1]], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    time.sleep(0.5)
    assert child.is_running()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    gone, _ = psutil.wait_procs([child], timeout=60)
    assert gone
