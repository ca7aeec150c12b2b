"""Two versions on one page: the same prompts and seeds with the codec's ceiling, numbers, reasons; no clip in MLflow."""

import base64
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assets.dataset import renditions
from assets.dataset.snapshot import build
from assets.evaluation import measuring
from assets.evaluation.comparison import Comparison, log_page
from assets.evaluation.promotion import decide_and_move
from assets.home import Home
from assets.marks.marking import read_marks
from assets.model.launch import Launch
from assets.model.published import Scorecard, heldout_digest, store_scorecard
from assets.registry import Registry
from assets.serving import serve
from assets.withdrawals.artifacts import forget_pages
from orchestration.commands import models
from tests.assets.evaluation import scores
from training.data.video import write_mp4

SIZE = (9, 64, 64, 3)


@pytest.fixture
def versions(registry: Registry, small_world: Any, weights: Path, untrained: Path, tmp_path: Path) -> Registry:
    """Version 1, champion, and version 2, which is worse. Each has a sample of a held-out caption and of a scene."""
    home: Home = registry.home
    sealed = build(home, datetime.now(UTC)).sealed
    renditions.render_all(home, [member for member in sealed.members if member["split"] == "heldout"])
    prompts = measuring.prompts(sealed)
    for number, (key, flow) in enumerate({"m-1": 0.3, "m-2": 0.45}.items()):
        run_id = registry.start_run(key, key)
        record = {"model_key": key, "snapshot_root": sealed.root, "transformer": {"mlflow_run_id": run_id}}
        home.store.put(f"models/{key}/result.json", json.dumps(record).encode())
        for file in (*untrained.glob("codec.*"), *weights.glob("transformer.*")):
            home.store.put(f"models/{key}/{file.name}", file)
        store_scorecard(home, Scorecard(key, heldout_digest(sealed), scores.rows(key, level=flow), scores.values(flow)))
        tags = {"model_key": key, "snapshot_root": sealed.root, "ledger_checkpoint": "1:ab"}
        version = serve.register(registry, run_id, weights, tags)
        for prompt in (prompts[0], prompts[-1]):
            video = write_mp4(tmp_path / "video.mp4", np.full(SIZE, 60 + 90 * number, np.uint8), 8)
            home.store.put(measuring.sample_key(key, prompt), video)
        decide_and_move(home, version, by="run r-1")
    return registry


def compared(registry: Registry) -> Comparison:
    return Comparison.of(registry.home, registry.version("2"), registry.version("1"))


def films(page: str) -> list[tuple[str, str]]:
    """What stands in each figure, with its data URI; empty where there is no video."""
    figures = re.findall(r"<figure>(.*?)<figcaption>(.*?)</figcaption>", page, re.S)
    return [(title, (re.findall(r'src="([^"]*)"', film) or [""])[0]) for film, title in figures]


def test_a_page_in_mlflow_shows_both_versions_and_the_ceiling_but_no_contributors_clip(
    versions: Registry, tmp_path: Path
):
    log_page(versions, compared(versions))
    run_id = versions.version("2").run_id
    page = Path(versions.client.download_artifacts(run_id, "comparison.html", str(tmp_path))).read_text()
    shown = films(page)
    assert [title for title, _ in shown] == [
        *("the held-out clip", "version 1", "version 2"),
        *("the rendered scene", "ceiling: the codec alone", "version 1", "version 2"),
    ]
    assert [title for title, uri in shown if not uri] == ["the held-out clip"]
    for title, model in (("version 1", "m-1"), ("version 2", "m-2"), ("ceiling: the codec alone", "m-2")):
        for uri in (uri for other, uri in shown if other == title):
            video = tmp_path / "film.mp4"
            video.write_bytes(base64.b64decode(uri.removeprefix("data:video/mp4;base64,")))
            marks = read_marks(video, versions.home.signing)
            assert marks.complete, marks.problems
            assert marks.provenance.claims["model_id"] == model
    assert not re.findall(r'(?:src|href)="(?!data:)', page), "a page asks for nothing else"
    assert "version 2 was refused against version 1" in page
    assert "run r-1" in page
    rows = {row["what"]: row for row in compared(versions).numbers()}
    loss = rows["flow loss, held-out ↓"]
    assert loss["values"] == ["0.3 (0.3–0.3)", "0.45 (0.45–0.45)"]
    assert loss["difference"].startswith("+0.0975 (+0.07")  # item by item
    assert (loss["verdict"], rows["reconstruction ↑"]["verdict"]) == ("worse", "within noise")


def test_missing_samples_of_the_reference_are_generated_unless_it_is_tainted(versions: Registry, tmp_path: Path):
    home, comparison = versions.home, compared(versions)
    keys = [measuring.sample_key("m-1", prompt) for prompt in comparison.prompts]
    home.store.delete(keys[0])
    versions.tag("1", "taint", "consent k-1 revoked")
    assert compared(versions).fill(generate) == 0
    versions.tag("1", "taint", "none")
    assert compared(versions).fill(generate) == 1
    assert all(map(home.store.exists, keys))
    assert compared(versions).fill(generate) == 0


def generate(started: Launch) -> None:
    """In the place of `training.sample`."""
    config = json.loads((started.run_dir / "config.json").read_text())
    path = write_mp4(Path(config["out"]) / "0.mp4", np.full(SIZE, 9, np.uint8), 8)
    (Path(config["out"]) / "samples.json").write_text(json.dumps([{"path": str(path)} for _ in config["prompts"]]))


def test_the_command_writes_a_page_that_a_withdrawal_deletes_and_one_to_pass_on_without_clips(
    versions: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(models, "home", lambda: versions.home)
    with pytest.raises(LookupError, match="'m-' names 2 versions; there are: 2, m-2; 1, champion, m-1"):
        models.compare("m-", None, None, False)
    models.compare("m-2", None, None, False)  # a model's key, beside the champion
    page = versions.home.scratch("comparisons") / "1-2.html"
    assert "worse" in capsys.readouterr().out
    shown = films(page.read_text())
    assert [title for title, _ in shown[:2]] == ["the held-out clip", "ceiling: the codec alone"]
    assert all(uri.startswith("data:video/mp4") for _, uri in shown)
    models.compare("1", "2", tmp_path / "out.html", False)
    assert films((tmp_path / "out.html").read_text())[0] == ("the held-out clip", "")
    forget_pages(versions.home, ["a-clip"])
    assert not page.exists()
