"""`rushes search` over captions that the real encoder embedded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from assets.curation.captioning.embeddings import embedding_rows
from assets.home import Home

VENDOR = Path(__file__).parents[2] / ".vendor"
DAY = "2026-11-02"
CAPTIONS = {
    "surf": "the sun goes down over the sea, waves on a beach",
    "tram": "a tram in a busy street by night",
    "cook": "hands cut vegetables in a kitchen",
}


@pytest.mark.skipif(not (VENDOR / "minilm" / "model.safetensors").is_file(), reason="run `make setup`")
def test_words_find_the_clip_that_shows_them(
    rushes: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUSHES_VENDOR", str(VENDOR))
    home = Home.local(tmp_path / "home", vendor=VENDOR)
    rows = [
        {"clip_id": clip, "item_id": f"i-{clip}", "shot_index": 0, "received_day": DAY, "kind": "long", "variant": 0}
        | {"text": text, "sources_json": "[]", "captioner": "structured/2", "refused": []}
        for clip, text in CAPTIONS.items()
    ]
    home.lake.write("captions", rows, DAY)
    home.lake.write("embeddings", embedding_rows(home, rows), DAY)
    output = rushes("search", "sunset over water [bold]", "--top", "2")
    assert "2 clips nearest to: sunset over water [bold]" in output
    assert output.index("surf") < output.index("unknown")
    assert CAPTIONS["surf"] in output
    assert output.count("unknown") == 2


def test_a_home_without_captions_says_what_to_do(rushes: Callable[..., str]) -> None:
    assert "rushes run intake" in rushes("search", "sunset over water", code=1)
