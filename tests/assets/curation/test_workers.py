"""A pool that outlives what its files do to it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from assets.curation.workers import Job, Pool
from assets.ingestion.probe import Limits

# stands in for the measuring process: dies, hangs or answers as the file's name says
SCRIPT = """
import json, os, sys, time
for line in sys.stdin:
    path = json.loads(line)["path"]
    if "dies" in path:
        os.abort()
    if "hangs" in path:
        time.sleep(60)
    print(json.dumps({"shots": [path]}), flush=True)
"""


def pool(tmp_path: Path, **limits: float) -> Pool:
    script = tmp_path / "worker.py"
    script.write_text(SCRIPT)
    return Pool(Limits(**limits), size=2, command=(sys.executable, str(script)))  # type: ignore[arg-type]


def jobs(*names: str) -> list[Job]:
    return [Job(name, Path(name), None) for name in names]


def test_a_file_that_kills_its_process_costs_nobody_else_an_answer(tmp_path: Path) -> None:
    with pool(tmp_path) as workers:
        found = dict(workers.measure_all(jobs("a", "dies", "b", "c")))
    assert found.pop("dies")["error"] == "the measuring process ended with signal SIGABRT"
    assert found == {name: {"shots": [name]} for name in "abc"}


def test_a_file_that_never_ends_is_given_up_at_the_limit(tmp_path: Path) -> None:
    with pool(tmp_path, wall_s=0.5) as workers:
        found = dict(workers.measure_all(jobs("hangs", "a")))
    assert found == {"hangs": {"error": "not measured within 0.5 s"}, "a": {"shots": ["a"]}}


@pytest.mark.parametrize("content", [b"", b"no video at all\n" * 100])
def test_a_file_that_is_no_video_is_an_error_and_not_an_exception(tmp_path: Path, content: bytes) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(content)
    with Pool(size=1) as workers:
        assert "error" in workers.measure(Job("bad", bad, None))
