"""One run, wherever its processes are: alone, in a group, on other machines; each goes on where another stopped."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from assets.dataset.sealed import Sealed
from assets.home import Home
from assets.model import assets as stage
from assets.model import config, launch, node, on_ray, published, warm
from assets.model.launcher import Group, Launcher, checked, parse
from assets.model.mirror import METRICS, Mirror
from assets.model.node import DATABASE, Job, UnfitNode
from assets.store import Address, LocalStore
from tests.assets.model.test_assets import LEARNS
from training.config import TrainConfig
from training.fit import fit
from training.model.config import build
from training.trainer.metrics import RunLogger

FEW: dict[str, Any] = {"codec": {"steps": 6, "eval_every": 2, "checkpoint_every": 2, "lr": 1e-4, "patience": 0}}


@pytest.mark.parametrize(
    ("setting", "launcher"),
    [
        ("local", Launcher("local")),
        ("torchrun:8", Launcher("torchrun", 8)),
        ("ray", Launcher("ray")),
        ("ray:head:6379", Launcher("ray", address="head:6379")),
        ("ray://head:10001", Launcher("ray", address="ray://head:10001")),
        ("k8s", Launcher("k8s")),
    ],
)
def test_a_setting_names_a_launcher(setting: str, launcher: Launcher) -> None:
    assert parse(setting) == launcher
    assert launcher.elsewhere == (launcher.kind in ("ray", "k8s"))


@pytest.mark.parametrize("setting", ["", "torchrun", "torchrun:0", "ray:head", "slurm", "k8s:gpu", "local:2"])
def test_any_other_setting_is_refused_with_the_list_of_what_there_is(setting: str) -> None:
    with pytest.raises(ValueError, match="none of local, torchrun"):
        checked(setting)


# -- checkpoints in the store -----------------------------------------------------------------------------------------


class Failing(LocalStore):
    """A folder that takes only so many writes."""

    def __init__(self, root: Path, writes: int) -> None:
        super().__init__(root)
        self.writes = writes

    def put(self, key: str, data: bytes | Path) -> None:
        self.writes -= 1
        if self.writes < 0:
            raise OSError("the store is gone")
        super().put(key, data)


def checkpoint(run_dir: Path, step: int) -> None:
    folder = run_dir / "checkpoints" / f"step-{step:08d}"
    folder.mkdir(parents=True)
    for name in ("weights.safetensors", "optimizer.pt", "state.json"):
        (folder / name).write_text(f"{name} of {step}")


def files(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


@given(st.integers(0, 9))
def test_another_machine_takes_whole_checkpoints_only_whenever_the_first_one_is_lost(
    tmp_path_factory: pytest.TempPathFactory, writes: int
) -> None:
    place = tmp_path_factory.mktemp("mirror")
    first, second = place / "first", place / "second"
    store = Failing(place / "store", writes)
    for step in (20, 40):
        checkpoint(first, step)
        try:
            Mirror(store, "run", first).push()
        except OSError:
            break
    fetched = Mirror(LocalStore(place / "store"), "run", second).fetch()
    whole = {3: "step-00000020", 6: "step-00000040"}
    assert fetched == next((whole[n] for n in (6, 3) if writes >= n), None)
    own = files(first / "checkpoints")
    assert files(second) == {
        f"checkpoints/{name}": text for name, text in own.items() if fetched and name.startswith(fetched)
    }


def test_the_store_keeps_the_folders_checkpoints_and_records_and_nothing_once_a_run_is_over(tmp_path: Path) -> None:
    store, here, there = LocalStore(tmp_path / "store"), tmp_path / "here", tmp_path / "there"
    there.mkdir()
    mirror, other = Mirror(store, "run", here), Mirror(store, "run", there)
    checkpoint(here, 20)
    (here / METRICS).write_text('{"step": 1}\n')
    mirror.push()
    other.pull()
    with (there / METRICS).open() as follower:
        assert follower.readlines() == ['{"step": 1}\n']
        with (here / METRICS).open("a") as record:
            record.write('{"step": 2}\n')
        checkpoint(here, 40)
        for path in (here / "checkpoints" / "step-00000020").iterdir():
            path.unlink()
        (here / "checkpoints" / "step-00000020").rmdir()
        mirror.push()
        other.pull()
        assert follower.readlines() == ['{"step": 2}\n'], "whoever follows the file has it open"
    assert {key.split("/")[-2] for key in store.list("runs/run/checkpoints")} == {"step-00000040"}
    mirror.clear()
    assert list(store.list("runs")) == []


# -- groups of processes ----------------------------------------------------------------------------------------------


def prepared(home: Home, sealed: Sealed) -> tuple[Home, config.Plan, launch.Launch]:
    home = replace(home, training=FEW)
    plan = warm.plan(home, sealed.root)
    return home, plan, launch.prepare_fit(home, plan, sealed, "codec")


def fit_alone(started: launch.Launch, until: int | None = None) -> dict[str, Any]:
    settings = build(TrainConfig, json.loads((started.run_dir / "config.json").read_text()))
    fit(settings, RunLogger(started.run_dir), until)
    return json.loads((started.run_dir / "result.json").read_text())


@pytest.mark.slow
def test_a_run_goes_on_in_two_processes_and_then_in_one_as_if_it_had_never_stopped(
    small_world: Any, sealed: Sealed, tmp_path: Path
) -> None:
    home, _, started = prepared(small_world.home, sealed)
    assert "after step 2" in fit_alone(started, until=2)["stopped"]
    path = started.run_dir / "config.json"
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(whole | {"steps": 4}))
    command = Group(processes=2).command(started.command)
    with launch.alone(home):
        ended = subprocess.run(command, env=os.environ | started.env, cwd=started.cwd, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:]
    middle = json.loads((started.run_dir / "result.json").read_text())
    assert (middle["resumed_from_step"], middle["steps"], middle["stopped"]) == (2, 4, None)
    path.write_text(json.dumps(whole))
    last = fit_alone(started)
    assert (last["resumed_from_step"], last["steps"], last["stopped"]) == (4, 6, None)
    assert last["start"] == middle["start"], "one run, measured from one start"


@pytest.mark.slow
def test_a_process_that_dies_takes_its_group_with_it(tmp_path: Path) -> None:
    (tmp_path / "member.py").write_text(
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "Path(f'pid-{os.environ[\"RANK\"]}').write_text(str(os.getpid()))\n"
        "while len(list(Path('.').glob('pid-*'))) < 2: time.sleep(0.05)\n"
        "if os.environ['RANK'] == '1': os.kill(os.getpid(), 9)\n"
        "time.sleep(60)\n"
    )
    command = Group(processes=2).command([sys.executable, "-m", "member"])
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=50)
    assert ended.returncode != 0
    assert not Path("/proc", (tmp_path / "pid-0").read_text()).exists()


# -- other machines ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_nodes_of_a_cluster_go_on_from_the_store_and_put_their_model_there(
    small_world: Any, sealed: Sealed, cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, plan, started = prepared(small_world.home, sealed)
    fit_alone(started, until=2)
    mirror = Mirror(home.store, plan.run_name("codec"), started.run_dir)
    mirror.push()
    elsewhere = Mirror(home.store, plan.run_name("codec"), tmp_path / "asked")
    elsewhere.run_dir.mkdir()
    job = Job.of(home, plan, "codec", {"nodes": 2})
    with elsewhere.followed():
        codes = on_ray.run(cluster.address, job, Group(nodes=2))
    elsewhere.fetch_results("codec")
    assert codes == [0, 0]
    result = json.loads((elsewhere.run_dir / "result.json").read_text())
    assert (result["resumed_from_step"], result["steps"], result["stopped"]) == (2, 6, None)
    assert result["exposure"] == [sealed.root], "consent was asked on the nodes"
    records = [json.loads(line) for line in (elsewhere.run_dir / METRICS).read_text().splitlines()]
    assert [record["step"] for record in records if "train/loss" in record] == [1, 2, 3, 4, 5, 6]
    assert load_file(elsewhere.run_dir / "codec.safetensors")


TRAINED_ELSEWHERE = """
from dagster_pipes import open_dagster_pipes
with open_dagster_pipes() as pipes:
    pipes.log.info("a line from another machine")
"""


def test_what_trains_elsewhere_is_logged_judged_and_published_here(
    small_world: Any,
    sealed: Sealed,
    run: Any,
    scripted: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: Any,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(stage, "_reconstruction", lambda *_: b"picture")
    asked: list[Any] = []

    def instead_of_a_cluster(address: str, job: Job, group: Group) -> list[int]:
        asked.append((address, group.nodes, group.processes, job.spread))
        return [node.train(job, replace(group, nodes=1, processes=1))]

    monkeypatch.setattr(on_ray, "run", instead_of_a_cluster)
    training = {"codec": {"patience": 0}, "nodes": 4, "processes": 2, "strategy": "fsdp"}
    home = replace(small_world.home, launcher="ray:head:6379", training=training)
    scripted(TRAINED_ELSEWHERE + LEARNS)
    result = run(home, stage.video_autoencoder)
    assert result.success
    assert "a line from another machine" in capfd.readouterr().err, "Dagster's log has what a node says"
    assert asked == [("head:6379", 4, 2, {"nodes": 4, "processes": 2, "strategy": "fsdp"})]
    record = published.result(home, warm.plan(home, sealed.root).model_key, "codec")
    assert record is not None
    assert [point["train/loss"] for point in record["metrics"]] == [1.0, 0.5]
    assert list(home.store.list("runs")) == [], "what is published is not kept twice"
    assert [path for path in tmp_path.rglob("*.safetensors") if "rushes-node" in str(path)] == [], "the node forgets"

    def lost(*_: Any) -> list[int]:
        raise TimeoutError("the cluster has no room")

    monkeypatch.setattr(on_ray, "run", lost)
    again = run(replace(home, training=training | {"seed": 1}), stage.video_autoencoder)
    assert not again.success
    assert "the process left no result" in str(again.failure_data_for_node("video_autoencoder"))


STOPS_ONCE = """
kept = run_dir / "checkpoints" / "step-00000002"
if not kept.is_dir():
    kept.mkdir(parents=True)
    (kept / "state.json").write_text("{}")
    sys.exit(9)
"""


class Bucket(LocalStore):
    """A folder that says that it is a bucket."""

    @property
    def address(self) -> Address:
        return Address("s3://footage/prod")


def test_where_the_home_is_a_bucket_a_run_goes_on_after_its_machine_is_lost(
    small_world: Any, sealed: Sealed, run: Any, scripted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "_reconstruction", lambda *_: b"picture")
    home = replace(small_world.home, store=Bucket(small_world.home.store.root))
    scripted(STOPS_ONCE + LEARNS)
    assert not run(home, stage.video_autoencoder).success
    assert [key.split("/")[-2:] for key in home.store.list("runs")] == [["step-00000002", "state.json"]]
    shutil.rmtree(home.state / "scratch" / "runs")
    assert run(home, stage.video_autoencoder).success
    assert list(home.store.list("runs")) == []


def test_a_node_with_other_code_or_without_the_ledger_says_what_to_do(
    small_world: Any, sealed: Sealed, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, plan, _ = prepared(small_world.home, sealed)
    monkeypatch.delenv(DATABASE, raising=False)
    secret = replace(home, database_url="postgresql://rushes:hunter2@db/rushes")
    job = Job.of(secret, plan, "codec", {})
    assert "hunter2" not in json.dumps(asdict(job))
    assert replace(job, plan={**job.plan, "codec": {"size": "B"}}).settings == {"size": "B"}, (
        "it finds that size's pictures"
    )
    with pytest.raises(UnfitNode, match=f"set {DATABASE}"):
        node.train(job, Group())
    with pytest.raises(UnfitNode, match="share its folder"):
        node.train(replace(job, database_url="sqlite:////nowhere/rushes.db"), Group())
    with pytest.raises(UnfitNode, match="install the same Rushes"):
        node.train(replace(job, plan={**job.plan, "code_version": "other"}), Group())
