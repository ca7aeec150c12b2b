"""Settings: each field of `Settings` is a variable RUSHES_* of the environment, with a default that works on a laptop.

Nothing else in `orchestration` reads RUSHES_*; the command line, the code location and the services get a `Settings`.
`open_home` makes the home that they name.
"""

from __future__ import annotations

import json
import os
import zoneinfo
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    DirectoryPath,
    Field,
    Json,
    NonNegativeInt,
    SecretStr,
    ValidationError,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from assets.decode.executor import checked as known_executor
from assets.home import Home
from assets.model.launcher import checked as known_launcher
from assets.store import LocalStore, S3Store, Store

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_HOME = str(ROOT / ".rushes")
PREFIX = "RUSHES_"

QUIET = {
    "DAGSTER_DISABLE_TELEMETRY": "1",
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "False",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GX_ANALYTICS_ENABLED": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
}


class SettingsError(ValueError):
    """A setting that cannot be used; the message names the variable."""


def be_quiet() -> None:
    """Turn telemetry off and hubs offline, for this process and its children, unless the environment says otherwise."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


def _absolute(path: str | Path) -> Path:
    return Path(path).expanduser().resolve()


def _home(value: str) -> str:
    scheme, remote, place = value.partition("://")
    if remote and (scheme != "s3" or not place.partition("/")[0]):
        raise ValueError("use a folder or s3://bucket/prefix")
    return value if remote else str(_absolute(value))


def _timezone(name: str) -> str:
    try:
        return zoneinfo.ZoneInfo(name).key
    except (zoneinfo.ZoneInfoNotFoundError, ValueError):
        raise ValueError("no such time zone; use a name such as Europe/Brussels") from None


Folder = Annotated[Path, AfterValidator(_absolute)]
Port = Annotated[int, Field(gt=0, lt=65536)]
NO_JSON: Any = "{}"  # defaults are validated like variables


class Settings(BaseSettings):
    """What one installation is made of: its places, its services and what they are allowed."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    home: Annotated[str, AfterValidator(_home)] = Field(
        DEFAULT_HOME, description="where media, lake and snapshots are: a folder, or s3://bucket/prefix"
    )
    state: Folder = Field(
        default_factory=lambda values: Path(DEFAULT_HOME if "://" in values["home"] else values["home"]),
        description="folder of local databases, caches and reports; the home where that is local",
    )
    database_url: str = Field(
        default_factory=lambda values: f"sqlite:///{values['state']}/rushes.db",
        repr=False,
        description="SQLAlchemy URL of ledger, requests and reviews; SQLite in the state folder without it",
    )
    mlflow_uri: str = Field(
        default_factory=lambda values: f"sqlite:///{values['state']}/mlflow.db",
        repr=False,
        description="MLflow tracking and registry; SQLite in the state folder without it",
    )
    vendor: Folder = Field(ROOT / ".vendor", description="folder of pinned weights and sample footage")
    executor: Annotated[str, AfterValidator(known_executor)] = Field(
        "local",
        description="where files are measured: local, local:PROCESSES, ray, ray:HOST:PORT or ray://HOST:PORT",
    )
    captioner: Annotated[DirectoryPath, BeforeValidator(_absolute)] | None = Field(
        None, description="folder of a vision-language model (safetensors) that captions pictures"
    )
    timezone: Annotated[str, AfterValidator(_timezone)] = Field(
        "UTC", description="time zone of the site: when its night is"
    )
    automation: bool = Field(
        True, description="on, or off to leave schedules and sensors stopped until somebody starts them in the UI"
    )
    training: Json[dict[str, Any]] = Field(NO_JSON, description="a JSON object that overrides the training preset")
    evaluation: Json[dict[Literal["clips", "camera_trials", "twins"], NonNegativeInt]] = Field(
        NO_JSON,
        description='a JSON object: how much a scorecard looks at, e.g. {"clips": 64}; for models measured from now on',
    )
    training_launcher: Annotated[str, AfterValidator(known_launcher)] = Field(
        "local",
        description="where training runs: local, torchrun:PROCESSES, ray, ray:HOST:PORT, ray://HOST:PORT or k8s",
    )
    kubernetes: Json[dict[str, Any]] = Field(
        NO_JSON,
        description='a JSON object: the pods of the launcher k8s, e.g. {"image": "registry/rushes:1", "secret": "rushes"}',
    )
    device: str = Field(
        "",
        description="where models compute: cuda, cuda:1, mps or cpu; without it a GPU if there is one, else the processor",
    )
    retention: Json[dict[str, str]] = Field(
        NO_JSON,
        description='a JSON object: what becomes of withdrawn things, e.g. {"derived": "seal", "media": "keep"}',
    )
    duckdb_memory: str = Field(
        "",
        pattern=r"^(\d+(\.\d+)?\s*[KMGT]i?B)?$",
        description="most memory of a connection to the warehouse, such as 4GB; a quarter of the machine's without it",
    )
    alert_webhook: SecretStr | None = Field(
        None, description="address to which each alert is posted as JSON until it is accepted"
    )
    heartbeat_url: SecretStr | None = Field(
        None, description="address of an outside monitor, requested after each night that ended well"
    )
    ui_port: Port = Field(3000, description="loopback port of the Dagster UI")
    mlflow_port: Port = Field(5000, description="loopback port of the MLflow UI")
    docs_port: Port = Field(3080, description="loopback port of the Great Expectations reports")

    @classmethod
    def load(cls, **values: Any) -> Settings:
        """The settings of this environment, with `values` in place of its own. Raises SettingsError."""
        try:
            return cls(**values)
        except ValidationError as error:
            wrong = [problem for problem in error.errors() if problem["type"] != "default_factory_not_called"]
            raise SettingsError("; ".join(_explain(cls, problem) for problem in wrong)) from None

    @property
    def remote(self) -> bool:
        return self.home.startswith("s3://")

    @property
    def dagster_home(self) -> Path:
        return self.state / "dagster"

    @property
    def ui_url(self) -> str:
        return f"http://127.0.0.1:{self.ui_port}"

    @property
    def mlflow_url(self) -> str:
        return f"http://127.0.0.1:{self.mlflow_port}"

    @property
    def docs_url(self) -> str:
        return f"http://127.0.0.1:{self.docs_port}"

    def variables(self) -> dict[str, str]:
        """The environment variables from which another process loads the same settings."""
        return {f"{PREFIX}{name.upper()}": _as_text(value) for name, value in self if value is not None}


def _as_text(value: Any) -> str:
    match value:
        case bool():
            return "on" if value else "off"
        case dict():
            return json.dumps(value)
        case SecretStr():
            return value.get_secret_value()
    return str(value)


def _explain(settings: type[Settings], problem: Any) -> str:
    """One problem in words: the variable, its value unless that may be a secret, what is wrong, what it is for."""
    name = str(problem["loc"][0])
    field = settings.model_fields[name]
    value = f"={problem['input']!r}" if field.repr and name not in {"alert_webhook", "heartbeat_url"} else ""
    reason = problem.get("ctx", {}).get("error") or problem["msg"]
    return f"{PREFIX}{name.upper()}{value}: {reason} ({field.description})"


# -- the home that the settings name --------------------------------------------------------------------------------------


def open_home(settings: Settings) -> Home:
    """The home, local or on S3, with its folders made. The assets see this only, as the resource `home` of a run."""
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
        evaluation={str(name): count for name, count in settings.evaluation.items()},
        launcher=settings.training_launcher,
        kubernetes=settings.kubernetes,
        retention=settings.retention,
        duckdb_memory=settings.duckdb_memory,
        mlflow_url=settings.mlflow_url,
        docs_url=settings.docs_url,
        alert_webhook=settings.alert_webhook.get_secret_value() if settings.alert_webhook else None,
        heartbeat_url=settings.heartbeat_url.get_secret_value() if settings.heartbeat_url else None,
    )


def _store(settings: Settings) -> Store:
    """Credentials and endpoint of S3 come from the usual AWS variables, never from the settings."""
    if not settings.remote:
        Path(settings.home).mkdir(parents=True, exist_ok=True)
        return LocalStore(Path(settings.home))
    from dagster_aws.s3 import S3Resource  # takes a second to import; only a home on S3 pays for it

    bucket, _, prefix = settings.home.removeprefix("s3://").partition("/")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    s3 = S3Resource(region_name=os.environ.get("AWS_REGION", "us-east-1"), endpoint_url=endpoint)
    return S3Store(s3.get_client(), bucket, prefix.strip("/"), settings.state / "s3_cache")
