"""The home on S3, through dagster-aws. Credentials and endpoint come from the usual AWS variables, never from here."""

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
from dagster_aws.s3 import S3Resource

from assets.home import Home
from assets.store import S3Store


class S3Home(dg.ConfigurableResource[Home]):
    """A home below a prefix of a bucket; databases and caches stay in a local state folder."""

    s3: dg.ResourceDependency[S3Resource]
    bucket: str
    prefix: str
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
        state = Path(self.state)
        state.mkdir(parents=True, exist_ok=True)
        return Home(
            store=S3Store(self.s3.get_client(), self.bucket, self.prefix, state / "s3_cache"),
            state=state,
            database_url=self.database_url,
            mlflow_uri=self.mlflow_uri,
            vendor=Path(self.vendor),
            site_timezone=self.timezone,
            captioner=Path(self.captioner) if self.captioner else None,
            executor=self.executor,
            training=dict(self.training),
            retention=dict(self.retention),
        )


def s3_home(uri: str, common: dict[str, Any]) -> S3Home:
    """`s3://bucket/prefix` as a resource."""
    parts = urlsplit(uri)
    if not parts.netloc:
        raise ValueError(f"RUSHES_HOME names no bucket: {uri!r} (use s3://bucket/prefix)")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return S3Home(
        s3=S3Resource(region_name=os.environ.get("AWS_REGION", "us-east-1"), endpoint_url=endpoint),
        bucket=parts.netloc,
        prefix=parts.path.strip("/"),
        **common,
    )
