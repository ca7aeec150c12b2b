"""Settings come from the environment, and a wrong one names its variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestration.settings import ROOT, Settings, SettingsError


def test_with_no_variable_everything_stays_below_the_checkout() -> None:
    settings = Settings.from_env({})
    assert settings.home == str(ROOT / ".rushes")
    assert settings.state == ROOT / ".rushes"
    assert settings.database_url == f"sqlite:///{ROOT / '.rushes' / 'rushes.db'}"
    assert settings.automation


def test_an_s3_home_keeps_its_databases_in_a_local_state_folder(tmp_path: Path) -> None:
    settings = Settings.from_env({"RUSHES_HOME": "s3://footage/prod", "RUSHES_STATE": str(tmp_path)})
    assert settings.remote
    assert settings.state == tmp_path
    assert settings.mlflow_uri.startswith(f"sqlite:///{tmp_path}")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RUSHES_HOME", "gs://bucket"),
        ("RUSHES_TIMEZONE", "Mars/Olympus"),
        ("RUSHES_AUTOMATION", "maybe"),
        ("RUSHES_EXECUTOR", "dask"),
        ("RUSHES_UI_PORT", "http"),
        ("RUSHES_UI_PORT", "0"),
        ("RUSHES_MLFLOW_PORT", "70000"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name):
        Settings.from_env({name: value})


@pytest.mark.parametrize("value", ["{", "[1]"])
def test_training_overrides_that_are_no_json_object_are_refused(value: str) -> None:
    with pytest.raises(SettingsError, match="RUSHES_TRAINING"):
        _ = Settings.from_env({"RUSHES_TRAINING": value}).training_overrides


def test_what_becomes_of_withdrawn_things_is_a_json_object_of_acts() -> None:
    settings = Settings.from_env({"RUSHES_RETENTION": '{"media": "keep"}'})
    assert settings.retention_acts == {"media": "keep"}
    with pytest.raises(SettingsError, match="RUSHES_RETENTION"):
        _ = Settings.from_env({"RUSHES_RETENTION": "[]"}).retention_acts
