"""Settings come from the environment, and a wrong one names its variable."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestration.settings import ROOT, Settings, SettingsError, open_home


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("RUSHES_")]:
        monkeypatch.delenv(name)


def test_with_no_variable_everything_stays_below_the_checkout() -> None:
    settings = Settings.load()
    assert settings.home == str(ROOT / ".rushes")
    assert settings.state == ROOT / ".rushes"
    assert settings.database_url == f"sqlite:///{ROOT / '.rushes' / 'rushes.db'}"
    assert settings.automation


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    unset = Settings.load()
    for name in ("RUSHES_HOME", "RUSHES_CAPTIONER", "RUSHES_ALERT_WEBHOOK", "RUSHES_UI_PORT"):
        monkeypatch.setenv(name, "")
    assert Settings.load() == unset


def test_an_s3_home_keeps_its_databases_in_a_local_state_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUSHES_HOME", "s3://footage/prod")
    monkeypatch.setenv("RUSHES_STATE", str(tmp_path))
    settings = Settings.load()
    assert settings.remote
    assert settings.state == tmp_path
    assert settings.mlflow_uri.startswith(f"sqlite:///{tmp_path}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RUSHES_HOME", "gs://bucket"),
        ("RUSHES_HOME", "s3:///prefix"),
        ("RUSHES_TIMEZONE", "Mars/Olympus"),
        ("RUSHES_AUTOMATION", "maybe"),
        ("RUSHES_EXECUTOR", "dask"),
        ("RUSHES_CAPTIONER", "/nowhere"),
        ("RUSHES_UI_PORT", "http"),
        ("RUSHES_UI_PORT", "0"),
        ("RUSHES_MLFLOW_PORT", "70000"),
        ("RUSHES_DUCKDB_MEMORY", "much"),
        ("RUSHES_DUCKDB_MEMORY", "4"),
        ("RUSHES_DUCKDB_MEMORY", "80%"),
        ("RUSHES_DUCKDB_MEMORY", "1GB'; drop table clips"),
        ("RUSHES_TRAINING", "{"),
        ("RUSHES_TRAINING", "[1]"),
        ("RUSHES_RETENTION", "[]"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused_by_name(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        Settings.load()
    assert str(refused.value).startswith(f"{name}=")
    assert str(refused.value).count("RUSHES_") == 1


def test_json_settings_reach_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUSHES_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RUSHES_RETENTION", '{"media": "keep"}')
    monkeypatch.setenv("RUSHES_TRAINING", '{"seed": 7}')
    monkeypatch.setenv("RUSHES_DUCKDB_MEMORY", "4GB")
    home = open_home(Settings.load())
    assert (home.retention, home.training) == ({"media": "keep"}, {"seed": 7})
    assert (home.state, home.duckdb_memory) == (tmp_path / "home", "4GB")


def test_secrets_reach_the_home_and_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUSHES_HOME", str(tmp_path))
    monkeypatch.setenv("RUSHES_DATABASE_URL", "postgresql://u:s3cret@host/db")
    monkeypatch.setenv("RUSHES_MLFLOW_URI", "https://u:s3cret@host")
    monkeypatch.setenv("RUSHES_ALERT_WEBHOOK", "https://hooks/s3cret")
    monkeypatch.setenv("RUSHES_HEARTBEAT_URL", "https://monitor/s3cret")
    settings = Settings.load()
    home = open_home(settings)
    assert home.alert_webhook == "https://hooks/s3cret"
    assert home.heartbeat_url == "https://monitor/s3cret"
    assert "s3cret" not in f"{settings!r} {home!r}"
    monkeypatch.setenv("RUSHES_UI_PORT", "http")
    with pytest.raises(SettingsError) as refused:
        Settings.load()
    assert "s3cret" not in str(refused.value)
