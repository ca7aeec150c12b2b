"""A report stands alone: opening it reaches nobody, and its first page is the result."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from assets.tables import TABLES
from expectations.report import stand_alone
from expectations.validate import validate

REMOTE = re.compile(
    r"(?:src|href)=\"https?://[^\"]+\.(?:js|css|png|svg|ico)|<script[^>]+src=\"https?:|<img[^>]+src=\"https?:"
)


COLUMNS = {column.name: column.doc for column in TABLES["signals"].columns}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    rows = pd.DataFrame({"clip_id": ["a", "a"]}).reindex(columns=list(COLUMNS))
    validate("signals", rows, folder, COLUMNS)
    return folder / "signals"


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) >= 2
    assert {page.name: REMOTE.findall(page.read_text()) for page in pages} == {page.name: [] for page in pages}


def test_the_first_page_leads_to_the_validation_result(site: Path) -> None:
    target = re.search(r"url=([^\"]+)\"", (site / "index.html").read_text())
    assert target
    assert "Expectation" in (site / target.group(1)).read_text()


def test_the_page_of_the_suite_says_what_the_columns_mean(site: Path) -> None:
    assert COLUMNS["sharpness"] in (site / "expectations" / "signals.html").read_text()


def test_making_a_report_stand_alone_twice_changes_no_result(site: Path) -> None:
    assert stand_alone(site) == stand_alone(site)
