"""The code location: one Definitions over all stages. Loads in seconds: no secret, no network, no heavy library."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any

import dagster as dg

from assets.home import Home
from assets.warehouse.project import dbt_resource
from orchestration.choices import TrainingChoices
from orchestration.jobs import jobs
from orchestration.schedules import nightly_schedule
from orchestration.sensors import build_sensors
from orchestration.settings import Settings, be_quiet, open_home

# a stage is a folder of `assets` and a group in the UI, in the order in which a clip passes through them
STAGES = (
    *("requests", "ingestion", "curation", "consent", "coverage", "warehouse", "dataset", "model", "evaluation"),
    "release",
)
# These name their groups themselves: dbt's translator, and the coverage, because clips are put into classes before the
# warehouse (group `diversity`) and what is short is known only behind it (group `coverage`). Groups in a circle could not
# be drawn in the order of flow.
OWN_GROUPS = {"coverage", "warehouse"}


def build(settings: Settings) -> dg.Definitions:
    """The definitions of one installation."""
    assets: list[Any] = []
    checks: list[dg.AssetChecksDefinition] = []
    for stage in STAGES:
        module = importlib.import_module(f"assets.{stage}.assets")
        assets += dg.load_assets_from_modules([module], group_name=None if stage in OWN_GROUPS else stage)
        checks += dg.load_asset_checks_from_modules([module])
    checks += dg.load_asset_checks_from_modules([importlib.import_module("assets.warehouse.checks")])
    on = settings.automation
    schedule_status = dg.DefaultScheduleStatus.RUNNING if on else dg.DefaultScheduleStatus.STOPPED
    return dg.Definitions(
        assets=assets,
        asset_checks=checks,
        jobs=jobs,
        schedules=[nightly_schedule(settings.timezone, schedule_status)],
        sensors=build_sensors(dg.DefaultSensorStatus.RUNNING if on else dg.DefaultSensorStatus.STOPPED),
        resources={"home": _home(settings), "training": TrainingChoices(), "dbt": dbt_resource()},
        # a run is a process already; steps in it share one import of the code location
        executor=dg.in_process_executor,
    )


def _home(settings: Settings) -> dg.ResourceDefinition:
    """The home that the settings name, with the training that the run was launched with."""

    @dg.resource(required_resource_keys={"training"}, config_schema={}, description="Where everything of Rushes is.")
    def home(context: dg.InitResourceContext) -> Home:
        opened = open_home(settings)
        return replace(opened, training=context.resources.training.over(opened.training))

    return home


be_quiet()
defs = build(Settings.load())
