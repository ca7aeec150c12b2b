"""Many files on this machine, and one child: what happens to one file happens to it alone, within its limits."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.decode import executor as executor_module
from assets.decode.executor import (
    LOST,
    TRIES,
    UNDER_WAY,
    LocalExecutor,
    MachineLost,
    Progress,
    Report,
    Unfit,
    Work,
    checked,
    open_executor,
    run,
)
from assets.decode.process import PULSE_S, Child, ChildFailed, Children, Limits, Unavailable
from assets.reasons import Code
from assets.signals.files import File, Measuring, result_key
from assets.store import LocalStore
from tests.assets.decode.fakes import counted, name_of, scripted, stored


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def outcomes(store: LocalStore, work: Measuring, files: list[File]) -> dict[str, str | None]:
    with LocalExecutor(store, 2) as executor:
        return {name_of(file): reason for file, reason in run(executor, work, files)}


def test_a_file_that_kills_its_process_costs_nobody_else_an_answer(store: LocalStore, tmp_path: Path) -> None:
    work, files = scripted(tmp_path / "fake"), stored(store, "a", "dies", "b", "c")
    results = outcomes(store, work, files)
    assert results.pop("dies") == "media.crashed: the decoder ended with signal SIGABRT"
    assert results == dict.fromkeys("abc")
    assert counted(tmp_path / "fake") == {"a": 1, "b": 1, "c": 1, "dies": 2}
    kept = [json.loads(store.get(key)) for key in store.list("cache")]
    assert sorted(answer["shots"] for answer in kept) == [["a"], ["b"], ["c"]]


def test_a_silent_file_is_given_up_at_once_and_a_slow_one_is_not(store: LocalStore, tmp_path: Path) -> None:
    work = scripted(tmp_path / "fake", stall_s=0.8)
    began = time.monotonic()
    results = outcomes(store, work, stored(store, "silent", "slow"))
    assert results == {"silent": "media.timeout: no sign of life for 0.8 s", "slow": None}
    assert time.monotonic() - began > 1.2, "the slow one took longer than it may be silent"
    assert counted(tmp_path / "fake")["silent"] == 1


def test_what_was_measured_before_is_not_measured_again(store: LocalStore, tmp_path: Path) -> None:
    work, files = scripted(tmp_path / "fake"), stored(store, "a", "dies", "b")
    outcomes(store, work, files)
    again = outcomes(store, work, [*files, *stored(store, "c")])
    assert {name for name, reason in again.items() if reason} == {"dies"}
    assert counted(tmp_path / "fake") == {"a": 1, "b": 1, "c": 1, "dies": 4}


def test_a_file_that_is_gone_has_a_reason(store: LocalStore, tmp_path: Path) -> None:
    gone = File("0" * 64, "media/gone")
    results = outcomes(store, scripted(tmp_path / "fake"), [gone, *stored(store, "a")])
    assert results["a"] is None
    assert str(results["gone"]).startswith("media.file_gone: ")


def test_a_result_for_which_there_is_no_room_costs_its_own_file_alone(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, files = LocalStore.put, stored(store, "a", "b")

    def full(to: LocalStore, key: str, data: bytes | Path) -> None:
        if files[0].sha256 in key:
            raise OSError(errno.ENOSPC, "No space left on device")
        put(to, key, data)

    monkeypatch.setattr(LocalStore, "put", full)
    results = outcomes(store, scripted(tmp_path / "fake"), files)
    assert results == {"a": "media.no_room: the disk was full when the result was kept", "b": None}


def test_an_executor_that_is_left_ends_what_is_under_way(store: LocalStore, tmp_path: Path) -> None:
    work = scripted(tmp_path / "fake")
    began = time.monotonic()
    with LocalExecutor(store, 2) as executor:
        results = run(executor, work, stored(store, "a", "silent", "silent-too", "b"))
        assert next(results)[1] is None
    assert time.monotonic() - began < 30


def test_an_installation_that_lacks_something_blames_no_file(store: LocalStore, tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text("raise SystemExit(3)")
    work = scripted(tmp_path / "fake")
    broken = Measuring(work.version, None, (), work.limits, (work.command[0], str(script)))
    with LocalExecutor(store, 1) as executor, pytest.raises(Unavailable, match="exit status 3"):
        list(run(executor, broken, stored(store, "a")))


def test_a_child_that_answers_nonsense_has_crashed(store: LocalStore, tmp_path: Path) -> None:
    script = tmp_path / "liar.py"
    script.write_text("print('ready', flush=True)\nfor line in open(0): print('{', flush=True)")
    work = scripted(tmp_path / "fake")
    liar = Measuring(work.version, None, (), work.limits, (work.command[0], str(script)))
    assert outcomes(store, liar, stored(store, "a")) == {"a": "media.crashed: the decoder's answer cannot be read"}


def test_a_closed_pool_starts_no_child(tmp_path: Path) -> None:
    work = scripted(tmp_path / "fake")
    children = Children(work.command, work.limits)
    children.close()
    with pytest.raises(Unavailable):
        children.ask({"path": str(tmp_path)})


def test_a_machine_with_other_weights_or_code_is_unfit(tmp_path: Path) -> None:
    work = scripted(tmp_path / "fake")
    work.check()
    with pytest.raises(Unfit, match="would measure as nothing"):
        Measuring(work.version, tmp_path / "yunet.onnx", ()).check()
    (tmp_path / "yunet.onnx").write_bytes(b"other weights")
    with pytest.raises(Unfit, match="the same weights"):
        Measuring(work.version, tmp_path / "yunet.onnx", ()).check()


class Simulated:
    """An executor without machines: loses the items it is told to, as often as it is told to."""

    def __init__(self, slots: int, losses: dict[int, int]) -> None:
        self._slots, self.losses = slots, Counter(losses)
        self.tried: Counter[int] = Counter()

    def __enter__(self) -> Simulated:
        return self

    def __exit__(self, *_: object) -> None: ...

    def slots(self) -> int:
        return self._slots

    def submit(self, work: Work, item: int) -> Future[str | None]:
        self.tried[item] += 1
        future: Future[str | None] = Future()
        if self.tried[item] <= self.losses[item]:
            future.set_exception(MachineLost("gone"))
        else:
            future.set_result(None)
        return future


@given(
    count=st.integers(0, 40),
    slots=st.integers(0, 4),
    losses=st.dictionaries(st.integers(0, 39), st.integers(1, 5), max_size=8),
)
def test_every_item_comes_out_once_and_only_lost_ones_are_tried_again(
    count: int, slots: int, losses: dict[int, int]
) -> None:
    machines: Any = Simulated(slots, losses)
    taken, ahead = 0, 0

    def items() -> Iterator[int]:
        nonlocal taken
        for taken in range(1, count + 1):
            yield taken - 1

    results: dict[int, str | None] = {}
    for item, reason in run(machines, None, items()):  # type: ignore[arg-type]
        assert item not in results
        results[item] = reason
        ahead = max(ahead, taken - len(results))
    assert set(results) == set(range(count))
    assert ahead <= UNDER_WAY * max(1, slots), "no more is taken than is under way"
    for item in range(count):
        lost = losses.get(item, 0)
        assert machines.tried[item] == min(TRIES, lost + 1)
        assert str(results[item]).startswith(LOST) == (lost >= TRIES)


def test_no_more_files_are_open_than_there_are_processes(store: LocalStore, tmp_path: Path) -> None:
    work, lock, now, most = scripted(tmp_path / "fake"), threading.Lock(), 0, 0
    real = Children.ask

    def watched(self: Children, request: dict[str, Any]) -> Any:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        try:
            return real(self, request)
        finally:
            with lock:
                now -= 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Children, "ask", watched)
        outcomes(store, work, stored(store, *(f"file-{n}" for n in range(12))))
    assert 0 < most <= 2


@pytest.mark.parametrize("setting", ["local", "local:4", "ray", "ray:10.0.0.7:6379", "ray://head.example:10001"])
def test_a_setting_names_an_executor(setting: str, store: LocalStore) -> None:
    assert type(open_executor(setting, store)).__name__ == (
        "LocalExecutor" if setting.startswith("local") else "RayExecutor"
    )


@pytest.mark.parametrize(
    "setting", ["", "Local", "local:0", "local:x", "ray:", "ray://", "ray:host", "dask", "ray:a b:1"]
)
def test_another_setting_is_refused(setting: str) -> None:
    with pytest.raises(ValueError, match="is none of local"):
        checked(setting)


@pytest.mark.parametrize(("refusals", "joined"), [(0, True), (2, True), (3, False)])
def test_a_refused_connection_to_a_cluster_is_tried_again(
    refusals: int, joined: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    answers = iter([ConnectionAbortedError("Initialization failure from server")] * refusals)

    def init(where: str) -> None:
        if error := next(answers, None):
            raise error
        reached.append(where)

    reached: list[str] = []
    monkeypatch.setattr(ray, "init", init)
    with nullcontext() if joined else pytest.raises(ConnectionAbortedError):
        executor_module.connect("ray://head.example:10001")
    assert reached == ["ray://head.example:10001"] * joined


def test_progress_is_told_of_every_file_and_said_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 2.0, 20.0, 21.0])
    monkeypatch.setattr(executor_module.time, "monotonic", lambda: next(clock))
    messages: list[str] = []
    seen: list[Progress] = []
    report = Report(4, messages.append, seen.append)
    for failed in (False, True, False, False):
        report(failed)
    assert [progress.done for progress in seen] == [1, 2, 3, 4]
    assert messages == [
        "3 of 4 files, 1 failed: 0.15 a second, 7 s left",
        "4 of 4 files, 1 failed: 0.19 a second",
    ]


def test_the_results_key_names_version_and_content() -> None:
    assert result_key("v", "ab" * 32) == f"cache/curation/v/ab/{'ab' * 32}.json"


# -- one child -------------------------------------------------------------------------------------------------------


CHILD = """
import os, time
from assets.decode.process import serve

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
from assets.decode.process import Child, Limits

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
