"""The real definitions over one home, run in the test's process on a real instance: what the slow tests share."""

from __future__ import annotations

import functools
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from assets.home import Home
from assets.partitions import received_days
from orchestration.settings import Settings, open_home
from tests.worlds import approve_all


def settings_in(folder: Path, home: str | None = None, **more: str) -> Settings:
    """Settings of an installation below `folder`, or with its store at `home`; weights are the checkout's."""
    places = {"home": home or str(folder / "home"), "state": str(folder / "home")}
    return Settings.load(**{"automation": "off"} | places | more)


def instance_in(folder: Path) -> dg.DagsterInstance:
    """A real instance on SQLite below `folder`; use it as a context."""
    shutil.copytree(_migrated().name, folder)
    return _instance(folder)


@functools.cache
def _migrated() -> tempfile.TemporaryDirectory[str]:
    """The databases of an instance with nothing in them: migrating them takes longer than copying."""
    folder = tempfile.TemporaryDirectory(prefix="dagster-")
    with _instance(Path(folder.name)) as instance:
        instance.get_runs()
        instance.all_instigator_state()
    return folder


def _instance(folder: Path) -> dg.DagsterInstance:
    return dg.DagsterInstance.local_temp(str(folder), overrides={"telemetry": {"enabled": False}})


@dataclass
class Graph:
    settings: Settings
    instance: dg.DagsterInstance

    def __post_init__(self) -> None:
        from orchestration.definitions import build

        self.definitions = build(self.settings)
        self.home: Home = open_home(self.settings)

    def run(self, job: str, day: str | None = None, assets: list[str] | None = None) -> dg.ExecuteInProcessResult:
        """One run of a job, or of some of its assets; raises what its steps raise."""
        if day:
            self.instance.add_dynamic_partitions(received_days.name or "", [day])
        selection = [dg.AssetKey(name) for name in assets] if assets else None
        return self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance, partition_key=day, asset_selection=selection
        )

    def up_to_the_snapshot(self, *days: str) -> None:
        """Intake of the days, every clip approved, the warehouse, and the sealed snapshot with its renditions."""
        for day in days:
            self.run("intake", day)
        self.run("refresh", assets=["duplicates", "consent_ledger"])  # what reviewers need: no warehouse yet
        approve_all(self.home)
        self.run("refresh")
        self.run("retrain", assets=["training_snapshot", "renditions"])
