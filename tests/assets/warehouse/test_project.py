"""How dbt is run: when the manifest is made anew, and what dbt is told about the home."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import pytest

from assets.home import Home
from assets.warehouse import project
from assets.warehouse.project import applied, environment

NOON = dt.datetime(2026, 11, 20, 12, tzinfo=dt.UTC)


def test_a_manifest_is_stale_when_it_is_missing_or_older_than_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, manifest = tmp_path / "models" / "marts" / "a.sql", tmp_path / "target" / "manifest.json"
    for path in (model, manifest):
        path.parent.mkdir(parents=True)
        path.touch()
    monkeypatch.setattr(project, "PROJECT_DIR", tmp_path)
    os.utime(model, (100, 100))
    os.utime(manifest, (200, 200))
    assert not project._stale(manifest)
    os.utime(model, (300, 300))
    assert project._stale(manifest)
    manifest.unlink()
    assert project._stale(manifest)


def test_dbt_is_told_the_day_and_horizon_that_the_python_rules_decide_for(home: Home) -> None:
    variables = environment(home, NOON)
    assert variables["RUSHES_DECISION_AT"] == "2026-11-20 00:00:00.000000"
    assert variables["RUSHES_DECISION_UNTIL"] == "2026-12-20 00:00:00.000000"
    assert variables == environment(home, NOON + dt.timedelta(hours=5))


def test_the_lake_is_readable_to_sql_before_anything_was_written(home: Home) -> None:
    lake = Path(environment(home, NOON)["RUSHES_LAKE"])
    assert (lake / "deliveries" / "schema.parquet").is_file()


def test_the_environment_is_put_back_also_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUSHES_LAKE", "before")
    monkeypatch.delenv("RUSHES_DECISION_AT", raising=False)
    seen = []

    def fail() -> None:
        with applied({"RUSHES_LAKE": "during", "RUSHES_DECISION_AT": "now"}):
            seen.append(os.environ["RUSHES_LAKE"])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert seen == ["during"]
    assert os.environ["RUSHES_LAKE"] == "before"
    assert "RUSHES_DECISION_AT" not in os.environ
