"""No model multiplies one contributor's clips with all that the contributor ever signed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.benchmarks.large_home import export_ledger, make_home, tell
from tests.dbt.models import PlainModels

CLIPS = 250
ROWS_A_CLIP = 20  # what a step may make of a clip, whoever delivered how many others
MODELS = ("int_contributor_grants", "int_clip_reviews", "int_clip_acceptance", "mart_training_eligibility")


@pytest.fixture(scope="module")
def one_contributor(tmp_path_factory: pytest.TempPathFactory) -> PlainModels:
    """The models over the files of a lake, as in the warehouse: DuckDB chooses what to join first by what it knows."""
    home = make_home(tmp_path_factory.mktemp("growth"), CLIPS, contributors=1)
    tell(home), export_ledger(home)
    return PlainModels(home.lake.mirror(home.state))


def steps(plan: list[dict[str, Any]]) -> Iterator[tuple[int, str]]:
    """Rows that each step of a plan put out, with what it did."""
    for step in plan:
        yield step["intermediate_rows"], f"{step['type']} {step['extra_info']}"
        yield from steps(step.get("children", []))


@pytest.mark.parametrize("model", MODELS)
def test_no_step_of_a_model_makes_more_rows_than_the_clips_account_for(
    one_contributor: PlainModels, model: str
) -> None:
    name = one_contributor.make(model)
    plan = one_contributor.connection.execute(f"explain (analyze, format json) select * from {name}").fetchall()
    rows, step = max(steps(json.loads(plan[0][1])["operator"]))
    assert rows <= ROWS_A_CLIP * CLIPS, step
