"""The same work on a Ray cluster of two nodes: the same bytes, and whoever is killed costs only what it had in hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from assets.decode import executor as on_ray
from assets.decode.executor import Unfit, open_executor, run
from assets.home import Home
from assets.signals import files as measuring
from assets.signals.files import File, Measuring
from assets.store import LocalStore, S3Store
from tests.assets.conftest import CLIENT_PORT, NODES, PROCESSORS, cmdline
from tests.assets.decode.fakes import counted, holds, log_of, name_of, scripted, stored
from tests.bucket import bucket
from training.consent.canonical import file_sha256

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).resolve().parents[3]
NAMES = tuple(f"file-{number:02}" for number in range(12))
HELD = tuple(f"held-{number}" for number in range(NODES * PROCESSORS))


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def wait_for_the_end_of(*children: int) -> None:
    gone_by = time.monotonic() + 60
    while any(map(psutil.pid_exists, children)):
        assert time.monotonic() < gone_by, "children outlive who asked for them"
        time.sleep(0.1)


def setting(cluster: Any) -> str:
    return f"ray:{cluster.address}"


def outcomes(
    cluster: Any, store: LocalStore, work: Measuring, files: Iterable[File], meanwhile: Callable[[], None] | None = None
) -> dict[str, str | None]:
    """What `run` gives, with `meanwhile` called in a thread of its own."""
    thread = threading.Thread(target=meanwhile)
    thread.start()
    with open_executor(setting(cluster), store) as executor:
        results = {name_of(file): reason for file, reason in run(executor, work, files)}
    thread.join()
    return results


@pytest.mark.skipif(not (REPOSITORY / ".vendor" / "footage").is_dir(), reason="the sample footage is not fetched")
def test_the_same_bytes_as_on_this_machine(cluster: Any, home: Home, tmp_path: Path) -> None:
    """Through a bucket, with real films and one that is broken."""
    films = [REPOSITORY / ".vendor" / "footage" / name for name in ("bikes.mp4", "city.mpg")]
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(films[0].read_bytes()[:20_000])
    with bucket() as client:
        remote = replace(home, store=S3Store(client, "rushes", "home", tmp_path / "cache"), executor=setting(cluster))
        results = [
            measuring.measure_files(each, [row(each, film) for film in (*films, broken)]) for each in (home, remote)
        ]
        assert results[0] == results[1]
        assert sorted(bool(each.error) for each in results[0].values()) == [False, False, True]
        kept = [{key: each.store.get(key) for key in each.store.list("cache/curation")} for each in (home, remote)]
        assert kept[0] == kept[1]
        assert len(kept[0]) == len(films)
        assert not list((tmp_path / "cache").rglob("*.mp4")), "media do not pass through who asks"


def row(home: Home, film: Path) -> dict[str, Any]:
    sha256 = file_sha256(film)
    home.store.put(key := f"media/{sha256}.mp4", film)
    return {"state": "accepted", "bytes_sha256": sha256, "media_key": key, "duration_s": 1.0}


def test_a_killed_child_and_a_killed_ray_process_cost_only_their_own_files(
    cluster: Any, store: LocalStore, tmp_path: Path
) -> None:
    fake = tmp_path / "fake"
    work = scripted(fake)

    def kill() -> None:
        child, process, *_ = holds(fake, len(HELD))
        os.kill(child.child, signal.SIGKILL)
        os.kill(process.parent, signal.SIGKILL)
        killed.update({child.name, process.name})
        (fake / "go").touch()

    killed: set[str] = set()
    results = outcomes(cluster, store, work, stored(store, *HELD, "dies", *NAMES), kill)
    assert str(results.pop("dies")).startswith("media.crashed: ")
    assert results == dict.fromkeys((*HELD, *NAMES))
    begun = counted(fake)
    assert {name for name, times in begun.items() if times > 1} == killed | {"dies"}
    assert {begun[name] for name in (*killed, "dies")} == {2}
    assert not {name for name in (fake / "environment").read_text().split() if name.startswith(("AWS_", "RAY_"))}


def test_a_file_whose_machine_is_lost_again_and_again_is_given_up(
    cluster: Any, store: LocalStore, tmp_path: Path
) -> None:
    fake = tmp_path / "fake"
    work = scripted(fake)

    def kill() -> None:
        for time_ in range(1, 4):
            os.kill(holds(fake, time_)[-1].parent, signal.SIGKILL)

    results = outcomes(cluster, store, work, stored(store, "held", *NAMES), kill)
    assert str(results.pop("held")).startswith("machine.lost: 3 times")
    assert results == dict.fromkeys(NAMES)
    assert counted(fake)["held"] == 3


def test_a_killed_driver_loses_nothing_that_was_finished(cluster: Any, store: LocalStore, tmp_path: Path) -> None:
    fake = tmp_path / "fake"
    command = [sys.executable, "-m", "tests.assets.decode.fakes", setting(cluster), str(store.root), str(fake)]
    driver = subprocess.Popen([*command, *NAMES, *HELD], cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    try:
        children = [held.child for held in holds(fake, len(HELD))]
    finally:
        driver.kill()
        driver.wait()
    assert counted(fake) == dict.fromkeys((*NAMES, *HELD), 1)
    wait_for_the_end_of(*children)
    (fake / "go").touch()
    results = outcomes(cluster, store, scripted(fake), stored(store, *NAMES, *HELD))
    assert results == dict.fromkeys((*NAMES, *HELD))
    assert counted(fake) == dict.fromkeys(NAMES, 1) | dict.fromkeys(HELD, 2)


def test_a_node_with_other_weights_is_refused_and_no_file_blamed(
    cluster: Any, store: LocalStore, tmp_path: Path
) -> None:
    work = replace(scripted(tmp_path / "fake"), version="signals-0")
    with pytest.raises(Unfit, match="install the same Rushes there"):
        outcomes(cluster, store, work, stored(store, *NAMES))
    assert counted(tmp_path / "fake") == {}


def test_files_are_taken_only_as_fast_as_they_are_measured(cluster: Any, store: LocalStore, tmp_path: Path) -> None:
    fake, taken = tmp_path / "fake", 0

    def files() -> Iterator[File]:
        nonlocal taken
        for file in stored(store, *HELD, *(f"more-{number}" for number in range(40))):
            taken += 1
            yield file

    def look() -> None:
        nonlocal ahead
        holds(fake, len(HELD))
        ahead = taken
        (fake / "go").touch()

    ahead = 0
    results = outcomes(cluster, store, scripted(fake), files(), look)
    assert len(results) == len(HELD) + 40
    assert len(HELD) <= ahead <= 2 * NODES * PROCESSORS


def test_what_a_killed_process_fetched_is_removed_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    base = tmp_path / f"rushes-media-{os.getuid()}"
    for process in (ended.pid, os.getpid()):
        (base / f"{process}-x").mkdir(parents=True)
        (base / f"{process}-x" / "film.mp4").write_bytes(b"film")
    on_ray._folder.cache_clear()
    assert [path.name for path in on_ray._folder().iterdir()] == [f"{os.getpid()}-x"]
    on_ray._folder.cache_clear()


@pytest.mark.parametrize("where", ["ray", f"ray://127.0.0.1:{CLIENT_PORT}"])
def test_a_cluster_of_this_machine_or_one_behind_a_client_server(
    where: str, cluster: Any, store: LocalStore, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tests.assets.decode.fakes", where, str(store.root), str(tmp_path / "fake")]
    with tempfile.TemporaryDirectory(prefix="r") as temporary:  # short: sockets lie below it
        environment = {name: value for name, value in os.environ.items() if name != "RAY_TMPDIR"}
        environment["TMPDIR"] = temporary
        done = subprocess.run([*command, "a", "dies", "b"], cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE)
        results = json.loads(done.stdout)
        assert {name for name, reason in results["outcomes"].items() if reason} == {"dies"}
        assert set(results["addresses"]) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
        assert bool(results["addresses"]) == (where == "ray")
        assert [path.name for path in Path(temporary).rglob("*") if not path.name.startswith("rushes-media-")] == []
        assert [process.pid for process in psutil.process_iter() if temporary in " ".join(cmdline(process))] == []


def test_a_killed_node_costs_only_what_it_had_in_hand(cluster: Any, store: LocalStore, tmp_path: Path) -> None:
    """Last, because the cluster has one node less afterwards."""
    fake = tmp_path / "fake"
    work = scripted(fake)
    (node,) = cluster.worker_nodes
    raylet = node.all_processes["raylet"][0].process.pid

    def kill() -> None:
        on_node = [held for held in holds(fake, len(HELD)) if psutil.Process(held.parent).ppid() == raylet]
        in_hand.update(held.name for held in on_node)
        cluster.remove_node(node, allow_graceful=False)  # kill -9 of all that it consists of
        wait_for_the_end_of(*(held.child for held in on_node))
        (fake / "go").touch()

    in_hand: set[str] = set()
    results = outcomes(cluster, store, work, stored(store, *HELD, *NAMES), kill)
    assert results == dict.fromkeys((*HELD, *NAMES))
    assert len(in_hand) == PROCESSORS
    again = {name for name, times in counted(fake).items() if times > 1}
    assert again == in_hand
    assert len(log_of(fake)) == len(HELD) + len(NAMES) + len(in_hand)
