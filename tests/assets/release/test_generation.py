"""The one door: what the policy refuses is not generated, what is generated leaves marked, and nothing is left behind."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from assets.home import Home
from assets.marks.marking import MarkError, read_marks
from assets.release.generation import generate_marked
from assets.serving.answer import GenerationRequest, PromptRefused, answer
from assets.serving.serve import NothingToServe, Serving

CLAIMS = {"model_id": "model-1", "snapshot_root": "ab" * 32, "ledger_checkpoint": "7:" + "cd" * 32}
RED_BALL, BLUE_CUBE = GenerationRequest("a red ball", 1), GenerationRequest("a blue cube", 2)


def allowed() -> None:
    """Nobody has withdrawn anything."""


@pytest.fixture
def package(tmp_path: Path, keys: Path) -> Path:
    folder = tmp_path / "package"
    folder.mkdir()
    Serving(text_encoder="minilm", keys=str(keys), claims=CLAIMS).write(folder)
    return folder


def test_every_answer_is_a_marked_file_in_the_order_asked(
    sampler: list[dict[str, Any]], package: Path, keys: Path, tmp_path: Path
):
    answers = answer(package, [RED_BALL, BLUE_CUBE], tmp_path / "out", may_answer=allowed)
    assert [a.prompt for a in answers] == sampler[0]["prompts"] == ["a red ball", "a blue cube"]
    assert all(a.path and read_marks(a.path, keys).complete for a in answers)


def test_a_refused_prompt_is_not_generated_and_does_not_stop_the_others(
    sampler: list[dict[str, Any]], package: Path, tmp_path: Path
):
    first, second = answer(package, [GenerationRequest("a nude", 1), RED_BALL], tmp_path / "out", may_answer=allowed)
    assert first.path is None
    assert first.refused == ("policy.sexual",)
    assert second.path is not None
    assert sampler[0]["prompts"] == ["a red ball"]


def test_a_file_that_cannot_be_marked_does_not_leave(
    sampler: list[dict[str, Any]], package: Path, keys: Path, tmp_path: Path
):
    Serving(text_encoder="minilm", keys=str(keys), claims=CLAIMS | {"snapshot_root": ""}).write(package)
    with pytest.raises(MarkError, match="snapshot_root"):
        answer(package, [RED_BALL], tmp_path / "out", may_answer=allowed)
    assert not list(tmp_path.rglob("out/*.mp4"))


def test_without_a_champion_generating_says_what_to_do(home: Home, tmp_path: Path):
    with pytest.raises(NothingToServe, match="train a model first"):
        generate_marked(home, RED_BALL, tmp_path / "out.mp4")


def test_a_refused_prompt_is_refused_before_anything_is_looked_up(home: Home, tmp_path: Path):
    with pytest.raises(PromptRefused, match=r"policy\.gore"):
        generate_marked(home, GenerationRequest("a beheading"), tmp_path / "out.mp4")
    assert not (home.state / "mlflow.db").exists()


def test_prompts_with_other_options_are_made_apart_and_come_back_in_order(
    sampler: list[dict[str, Any]], package: Path, tmp_path: Path
):
    requests = [replace(RED_BALL, options={"steps": 2}), BLUE_CUBE, GenerationRequest("a red ball", 3, {"steps": 2})]
    answers = answer(package, requests, tmp_path, allowed)
    assert [a.prompt for a in answers] == ["a red ball", "a blue cube", "a red ball"]
    assert len({a.path for a in answers if a.path and a.path.is_file()}) == 3
    batches = {tuple(call["seeds"]): (call["prompts"], call.get("steps")) for call in sampler}
    assert batches == {(1, 3): (["a red ball", "a red ball"], 2), (2,): (["a blue cube"], None)}


def test_the_same_prompt_and_seed_with_other_options_is_another_file(
    sampler: list[dict[str, Any]], package: Path, tmp_path: Path
):
    requests = [replace(RED_BALL, options={"steps": steps}) for steps in (2, 3)]
    first, second = answer(package, requests, tmp_path, allowed)
    assert first.path != second.path


def test_a_permission_that_ends_while_videos_are_made_lets_none_of_them_leave(
    sampler: list[dict[str, Any]], package: Path, tmp_path: Path
):
    def ends() -> None:
        if sampler:
            raise NothingToServe("withdrawn")

    with pytest.raises(NothingToServe, match="withdrawn"):
        answer(package, [RED_BALL, BLUE_CUBE], tmp_path / "out", may_answer=ends)
    assert len(sampler) == 1
    assert not list(tmp_path.rglob("out/*"))


def test_a_package_that_names_no_registry_does_not_answer(
    sampler: list[dict[str, Any]], package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("RUSHES_MLFLOW_URI", raising=False)
    monkeypatch.setattr("mlflow.is_tracking_uri_set", lambda: False)  # an earlier test of this process may have set it
    with pytest.raises(NothingToServe, match=r"names no registry.*Set RUSHES_MLFLOW_URI"):
        answer(package, [RED_BALL], tmp_path / "out")
    assert sampler == []
