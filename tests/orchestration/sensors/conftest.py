"""An instance of Dagster without a daemon, and sensors that are ticked over real homes by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.utils import make_new_run_id

from assets.home import Home
from orchestration.sensors import build_sensors
from tests.orchestration.graph import instance_in

DAY = "2026-11-02"
SENSORS = {sensor.name: sensor for sensor in build_sensors(dg.DefaultSensorStatus.STOPPED)}
Tick = Callable[..., dg.SensorResult]


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with instance_in(tmp_path / "dagster") as instance:
        yield instance


@pytest.fixture
def tick(instance: dg.DagsterInstance) -> Tick:
    """Evaluates a sensor over a home, from a cursor on."""

    def evaluate(sensor: str, home: Home, cursor: str | None = None) -> Any:
        with dg.build_sensor_context(instance=instance, cursor=cursor, resources={"home": home}) as context:
            return SENSORS[sensor](context)

    return evaluate


def run_of(instance: dg.DagsterInstance, job: str, status: dg.DagsterRunStatus, **tags: str) -> dg.DagsterRun:
    """A run of a job as it stands in the instance; nothing is executed."""
    run = dg.DagsterRun(job_name=job, run_id=make_new_run_id(), status=status, tags=tags)
    instance.add_run(run)
    return run
