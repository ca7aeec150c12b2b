"""The data summary adds up and names nobody; the model card says what is known and what was not measured."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from assets.dataset.snapshot import build
from assets.evaluation.report import shown
from assets.release import documents


@pytest.fixture
def manifest(small_world: Any) -> dict[str, Any]:
    small_world.home.lake.write("consent_events", [])
    return dict(build(small_world.home, datetime.now(UTC)).sealed.manifest)


def test_the_summary_adds_up_to_the_snapshot(small_world: Any, manifest: dict[str, Any]):
    summary = documents.summarise(small_world.home, manifest)
    assert summary["general"]["clips"] == len(manifest["members"]) == 8
    assert summary["general"]["contributors"] == 4
    assert summary["general"]["hours"] == pytest.approx(8 * 2.0 / 3600, abs=1e-4)
    assert sum(source["clips"] for source in summary["sources"]) == 8
    assert summary["consent"]["standing_consents"] == 8


def test_nobody_is_named_in_the_summary(small_world: Any, manifest: dict[str, Any]):
    summary = documents.summarise(small_world.home, manifest)
    text = json.dumps(summary) + documents.summary_page(summary)
    assert not [m["contributor_id"] for m in manifest["members"] if m["contributor_id"] in text]


def test_the_summary_of_the_same_snapshot_is_the_same(small_world: Any, manifest: dict[str, Any]):
    assert documents.summarise(small_world.home, manifest) == documents.summarise(small_world.home, manifest)


@pytest.mark.parametrize(
    ("parent", "origin", "said"),
    [
        (None, "m-1", "parent model: none: trained from random weights"),
        ("m-0", "m-0", "parent model: m-0\n"),
        (
            "base-0123456789ab",
            "base-0123456789ab",
            "trained from base base-0123456789ab, which saw rendered scenes only",
        ),
        ("m-0", "base-0123456789ab", "m-0, which descends from base base-0123456789ab"),
    ],
)
def test_the_card_names_the_base_that_a_model_descends_from(
    small_world: Any, manifest: dict[str, Any], parent: str | None, origin: str, said: str
):
    tags = {"model_key": "m-1"} | ({"parent_model": parent} if parent else {})
    summary = documents.summarise(small_world.home, manifest)
    assert said in documents.model_card(documents.Facts("1", [], tags, {"origin": origin}, summary, []))


def test_the_card_shows_intervals_and_says_what_was_not_measured(small_world: Any, manifest: dict[str, Any]):
    common = {"slice": "all", "n": 8, "unit": "1", "better": "lower", "method": "m/1"}
    rows = [
        {"metric": "flow", "value": 0.5, "ci_low": 0.4, "ci_high": 0.6, "state": "measured", "why": None, **common},
        {"metric": "fvd", "value": None, "ci_low": None, "ci_high": None, "state": "not_measured", "why": "no weights",
         **common},
    ]  # fmt: skip
    text = documents.model_card(
        documents.Facts(
            version="3",
            aliases=["candidate"],
            tags={"model_key": "m-1", "snapshot_root": manifest["root"], "taint": "none"},
            record={"codec": {"result": {"start": {"heldout/psnr_db": 9.0}, "end": {"heldout/psnr_db": 25.0}}}},
            summary=documents.summarise(small_world.home, manifest),
            scores=shown(rows),
        )
    )
    assert "0.5 [0.4, 0.6]" in text
    assert "not measured: no weights" in text
    assert manifest["root"] in text
    assert "heldout/psnr_db 9 → 25" in text
