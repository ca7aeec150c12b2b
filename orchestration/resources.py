"""The home that the settings name, local or on S3. The assets see `Home` only and do not know which it is.

Credentials and endpoint of S3 come from the usual AWS variables, never from the settings.
"""

from __future__ import annotations

import os
from pathlib import Path

from assets.home import Home
from assets.store import LocalStore, S3Store, Store
from orchestration.settings import Settings


def open_home(settings: Settings) -> Home:
    """The home, with its folders made; in a run it is the resource `home`."""
    settings.state.mkdir(parents=True, exist_ok=True)
    return Home(
        store=_store(settings),
        state=settings.state,
        database_url=settings.database_url,
        mlflow_uri=settings.mlflow_uri,
        vendor=settings.vendor,
        site_timezone=settings.timezone,
        captioner=settings.captioner,
        executor=settings.executor,
        training=settings.training,
        retention=settings.retention,
        duckdb_memory=settings.duckdb_memory,
        mlflow_url=settings.mlflow_url,
        docs_url=settings.docs_url,
        alert_webhook=settings.alert_webhook.get_secret_value() if settings.alert_webhook else None,
        heartbeat_url=settings.heartbeat_url.get_secret_value() if settings.heartbeat_url else None,
    )


def _store(settings: Settings) -> Store:
    if not settings.remote:
        Path(settings.home).mkdir(parents=True, exist_ok=True)
        return LocalStore(Path(settings.home))
    from dagster_aws.s3 import S3Resource  # takes a second to import; only a home on S3 pays for it

    bucket, _, prefix = settings.home.removeprefix("s3://").partition("/")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    s3 = S3Resource(region_name=os.environ.get("AWS_REGION", "us-east-1"), endpoint_url=endpoint)
    return S3Store(s3.get_client(), bucket, prefix.strip("/"), settings.state / "s3_cache")
