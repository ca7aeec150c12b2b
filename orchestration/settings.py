"""Settings: each field of `Settings` is a variable RUSHES_* of the environment, with a default that works on a laptop.

Nothing else in `orchestration` reads RUSHES_*; the command line, the code location and the services get a `Settings`.
"""

from __future__ import annotations

import json
import os
import zoneinfo
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, DirectoryPath, Field, Json, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from assets.decode.executor import checked as known_executor

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
