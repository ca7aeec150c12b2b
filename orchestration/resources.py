"""Dagster resources: the home, local or on S3. The assets see `Home` only and do not know which it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dagster as dg

from assets.home import Home
from assets.store import LocalStore
from orchestration.settings import Settings


class LocalHome(dg.ConfigurableResource[Home]):
    """A home in a local folder."""

    folder: str
    state: str
    database_url: str
    mlflow_uri: str
    vendor: str
    timezone: str = "UTC"
    captioner: str = ""
    executor: str = "local"
    training: dict[str, Any] = {}  # noqa: RUF012 - a pydantic field, copied per instance
    retention: dict[str, str] = {}  # noqa: RUF012 - likewise

    def create_resource(self, context: dg.InitResourceContext) -> Home:
        Path(self.folder).mkdir(parents=True, exist_ok=True)
        return Home(
            store=LocalStore(Path(self.folder)),
            state=Path(self.state),
            database_url=self.database_url,
            mlflow_uri=self.mlflow_uri,
            vendor=Path(self.vendor),
            site_timezone=self.timezone,
            captioner=Path(self.captioner) if self.captioner else None,
            executor=self.executor,
            training=dict(self.training),
            retention=dict(self.retention),
        )


def home_resource(settings: Settings) -> dg.ConfigurableResource[Home]:
    """The resource that the settings name."""
    common: dict[str, Any] = {
        "state": str(settings.state),
        "database_url": settings.database_url,
        "mlflow_uri": settings.mlflow_uri,
        "vendor": str(settings.vendor),
        "timezone": settings.timezone,
        "captioner": settings.captioner,
        "executor": settings.executor,
        "training": settings.training_overrides,
        "retention": settings.retention_acts,
    }
    if settings.remote:
        from orchestration.s3 import s3_home  # dagster-aws costs seconds to import; only those who use S3 pay

        return s3_home(settings.home, common)
    return LocalHome(folder=settings.home, **common)


def open_home(settings: Settings) -> Home:
    """The home outside of a run: for the command line and for services."""
    settings.state.mkdir(parents=True, exist_ok=True)
    return home_resource(settings).create_resource(dg.build_init_resource_context())
