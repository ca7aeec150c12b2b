"""Settings from the environment, each with a default that works on a laptop; the only place that reads RUSHES_*.

| variable | default | meaning |
|---|---|---|
| RUSHES_HOME | `.rushes` in the checkout | a folder, or `s3://bucket/prefix` |
| RUSHES_STATE | the home when local, else `.rushes` | local databases, caches, reports |
| RUSHES_DATABASE_URL | SQLite in the state folder | ledger, requests and reviews (SQLAlchemy URL) |
| RUSHES_MLFLOW_URI | SQLite in the state folder | MLflow tracking and registry |
| RUSHES_VENDOR | `.vendor` in the checkout | pinned weights and sample footage |
| RUSHES_EXECUTOR | `local` | where files are measured: `local`, `local:PROCESSES`, `ray`, `ray:HOST:PORT`, `ray://HOST:PORT` |
| RUSHES_CAPTIONER | none | folder of a vision-language model (safetensors) that captions pictures |
| RUSHES_TIMEZONE | UTC | time zone of the site: when its night is |
| RUSHES_AUTOMATION | on | `off` leaves schedules and sensors stopped until someone starts them in the UI |
| RUSHES_TRAINING | `{}` | JSON that overrides the training preset |
| RUSHES_RETENTION | `{}` | JSON: what becomes of withdrawn things, e.g. `{"derived": "seal", "media": "keep"}` |
| RUSHES_DUCKDB_MEMORY | a quarter of the machine's | most memory of a connection to the warehouse, e.g. `4GB` |
| RUSHES_ALERT_WEBHOOK | none | where alerts are posted as JSON, each until it was taken |
| RUSHES_HEARTBEAT_URL | none | an outside monitor's address, asked for after each night that ended well |
| RUSHES_UI_PORT, RUSHES_MLFLOW_PORT, RUSHES_DOCS_PORT | 3000, 5000, 3080 | loopback ports of the UIs and the Data Docs |
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

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
    """Telemetry off and hubs offline, for this process and all it starts, unless the environment says otherwise."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


@dataclass(frozen=True)
class Settings:
    home: str
    state: Path
    database_url: str
    mlflow_uri: str
    vendor: Path
    executor: str = "local"
    timezone: str = "UTC"
    captioner: str = ""
    automation: bool = True
    training: str = "{}"
    retention: str = "{}"
    alert_webhook: str | None = None
    ui_port: int = 3000
    mlflow_port: int = 5000
    docs_port: int = 3080

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

    @property
    def training_overrides(self) -> dict[str, Any]:
        return _json_object("RUSHES_TRAINING", self.training)

    @property
    def retention_acts(self) -> dict[str, str]:
        """Whether they make sense is said when they are used."""
        return {kind: str(act) for kind, act in _json_object("RUSHES_RETENTION", self.retention).items()}

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Settings:
        """Settings of this environment; raises SettingsError naming the variable that is wrong."""
        env = os.environ if env is None else env
        home = env.get("RUSHES_HOME", str(ROOT / ".rushes"))
        if "://" in home and not home.startswith("s3://"):
            raise SettingsError(f"RUSHES_HOME is a folder or s3://bucket/prefix, not {home!r}")
        state = Path(env.get("RUSHES_STATE", str(ROOT / ".rushes") if "://" in home else home)).expanduser().resolve()
        if not home.startswith("s3://"):
            home = str(Path(home).expanduser().resolve())
        return cls(
            home=home,
            state=state,
            database_url=env.get("RUSHES_DATABASE_URL", f"sqlite:///{state / 'rushes.db'}"),
            mlflow_uri=env.get("RUSHES_MLFLOW_URI", f"sqlite:///{state / 'mlflow.db'}"),
            vendor=Path(env.get("RUSHES_VENDOR", str(ROOT / ".vendor"))).resolve(),
            executor=_executor(env.get("RUSHES_EXECUTOR", "local")),
            captioner=_folder("RUSHES_CAPTIONER", env.get("RUSHES_CAPTIONER", "")),
            timezone=_timezone(env.get("RUSHES_TIMEZONE", "UTC")),
            automation=_switch("RUSHES_AUTOMATION", env.get("RUSHES_AUTOMATION", "on")),
            training=env.get("RUSHES_TRAINING", "{}"),
            retention=env.get("RUSHES_RETENTION", "{}"),
            alert_webhook=env.get("RUSHES_ALERT_WEBHOOK") or None,
            ui_port=_port("RUSHES_UI_PORT", env.get("RUSHES_UI_PORT", "3000")),
            mlflow_port=_port("RUSHES_MLFLOW_PORT", env.get("RUSHES_MLFLOW_PORT", "5000")),
            docs_port=_port("RUSHES_DOCS_PORT", env.get("RUSHES_DOCS_PORT", "3080")),
        )


def _json_object(name: str, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingsError(f"{name} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise SettingsError(f"{name} must be a JSON object")
    return found


def _folder(name: str, path: str) -> str:
    """An absolute path; empty for none."""
    if not path:
        return ""
    found = Path(path).expanduser().resolve()
    if not found.is_dir():
        raise SettingsError(f"{name}: no folder {found}")
    return str(found)


def _timezone(name: str) -> str:
    import zoneinfo

    try:
        return zoneinfo.ZoneInfo(name).key
    except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
        raise SettingsError(f"RUSHES_TIMEZONE: no time zone {name!r}; use a name such as Europe/Brussels") from error


def _executor(value: str) -> str:
    from assets.decode.executor import checked

    try:
        return checked(value)
    except ValueError as error:
        raise SettingsError(f"RUSHES_EXECUTOR: {error}") from error


def _switch(name: str, value: str) -> bool:
    if value.lower() not in {"on", "off"}:
        raise SettingsError(f"{name} is on or off, not {value!r}")
    return value.lower() == "on"


def _port(name: str, value: str) -> int:
    if not value.isdigit() or not 0 < int(value) < 65536:
        raise SettingsError(f"{name} is a port number, not {value!r}")
    return int(value)
