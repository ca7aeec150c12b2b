"""One dbt build over a lake written by hand; the tests of this folder look at what it left."""

from __future__ import annotations

from pathlib import Path

import pytest

from assets.lake import Lake
from assets.store import LocalStore
from tests.dbt.models import Rows, dbt, rows_of
from tests.dbt.small_lake import cases


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the lake of `cases` and the warehouse that `dbt build` made of it."""
    root = tmp_path_factory.mktemp("dbt")
    lake = Lake(LocalStore(root))
    cases().write(lake)
    lake.mirror(root / "mirror")
    done = dbt("build", root)
    assert done.returncode == 0, done.stdout[-4000:]
    return root


@pytest.fixture(scope="session")
def marts(built: Path) -> Rows:
    return rows_of(built)
