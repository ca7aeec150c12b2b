"""Fixtures that every test may use: an empty home in a temporary folder, and quiet third parties."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from assets.home import Home

for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "DAGSTER_DISABLE_TELEMETRY": "1",
    "DBT_SEND_ANONYMOUS_USAGE_STATS": "False",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",  # the suite takes one core a process already
}.items():
    os.environ.setdefault(_name, _value)

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An embedded installation with nothing in it; weights come from the checkout's vendor folder."""
    return Home.local(tmp_path / "home", vendor=Path(os.environ.get("RUSHES_VENDOR", REPOSITORY / ".vendor")))


def pytest_configure() -> None:
    """Tests that need the fetched footage and networks skip on a bare checkout; where CI runs, that would hide them."""
    vendor = Path(os.environ.get("RUSHES_VENDOR", REPOSITORY / ".vendor"))
    missing = [name for name in ("footage", "minilm", "yunet.onnx") if not (vendor / name).exists()]
    if os.environ.get("CI") and missing:
        raise pytest.UsageError(f"{vendor} lacks {', '.join(missing)}: run `make setup`")
