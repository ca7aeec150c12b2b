"""What a captioner saw: which pictures it is shown, what of its words may be told, and that it is real and local."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assets.curation.captioning import vlm
from assets.curation.captioning.embeddings import embedding_rows
from assets.curation.captioning.structured import Facts
from assets.curation.captioning.vlm import (
    PROMPT_VERSION,
    BadCaptioner,
    LocalCaptioner,
    captioner_name,
    malformed,
    moments,
    visual_caption_rows,
    visual_rows,
)
from assets.home import Home
from tests.assets.curation.captioning.tiny_captioner import BLUE, RED, save_tiny_blip
from training.data.video import write_mp4

Row = dict[str, Any]
ITEMS = {"i-1": {"declared_subject": "a red wall", "declared_time_of_day": "day", "persons_json": "[]"}}


class BrightestChannel:
    """A captioner that names the brightest channel, and counts what it was shown."""

    name = "visual/test-0/prompt-1"

    def __init__(self) -> None:
        self.shown = 0

    def caption(self, rgb: np.ndarray) -> str:
        self.shown += 1
        return f"a {('red', 'green', 'blue')[int(rgb.mean(axis=(0, 1)).argmax())]} wall"


@pytest.fixture
def filmed(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home with a film that is red for 12 frames, then blue for 12; every text is like every other by 0.5."""
    frames = np.concatenate([np.repeat(picture[None], 12, axis=0) for picture in (RED, BLUE)])
    home.store.put("media/film.mp4", write_mp4(tmp_path / "film.mp4", frames, 8.0))
    monkeypatch.setattr(vlm, "encoder_name", lambda folder: "encoder")
    monkeypatch.setattr(vlm, "text_vectors", lambda home, model, texts: {t: [0.5, 0.5] for t in texts})

    class Encoder:
        def __init__(self, path: Path) -> None:
            pass

        def embed(self, texts: list[str]) -> np.ndarray:
            return np.full((len(texts), 2), 0.5)

    monkeypatch.setattr(vlm, "TextEncoder", Encoder)
    return home


def shot(index: int, **changes: Any) -> Row:
    row = {"clip_id": f"c-{index}", "item_id": "i-1", "shot_index": index, "received_day": "2026-11-02"}
    return row | {"media_key": "media/film.mp4", "start_frame": 12 * index, "end_frame": 12 * index + 12} | changes


def test_each_clip_is_told_from_its_own_pictures_the_middle_first(filmed: Home) -> None:
    rows = visual_rows(filmed, [shot(0), shot(1)], ITEMS, BrightestChannel())
    assert [(row["clip_id"], row["variant"], row["frame"]) for row in rows] == [
        ("c-0", 0, 6), ("c-0", 1, 2), ("c-0", 2, 10), ("c-1", 0, 18), ("c-1", 1, 14), ("c-1", 2, 22),
    ]  # fmt: skip
    assert {row["text"] for row in rows[:3]} == {"a red wall"}
    assert {row["text"] for row in rows[3:]} == {"a blue wall"}
    assert {row["likeness"] for row in rows} == {0.5}
    assert filmed.lake.write("visual_captions", rows, "2026-11-02").rows == 6


def test_a_clip_is_shown_to_a_captioner_once_and_again_to_another(filmed: Home) -> None:
    first, again, other = BrightestChannel(), BrightestChannel(), BrightestChannel()
    rows = visual_rows(filmed, [shot(0)], ITEMS, first)
    assert visual_rows(filmed, [shot(0), shot(1)], ITEMS, again, earlier=rows)[:3] == rows
    assert (first.shown, again.shown) == (3, 3)
    other.name = "visual/other-1/prompt-1"
    assert len(visual_rows(filmed, [shot(0)], ITEMS, other, earlier=rows)) == 3
    assert other.shown == 3


def test_a_file_that_is_gone_leaves_its_clips_without_words(filmed: Home) -> None:
    messages: list[str] = []
    rows = visual_rows(
        filmed, [shot(0, media_key="media/gone.mp4"), shot(1)], ITEMS, BrightestChannel(), say=messages.append
    )
    assert {row["clip_id"] for row in rows} == {"c-1"}
    assert any("media/gone.mp4" in line for line in messages)


def test_a_file_that_a_captioner_fails_over_leaves_its_clips_without_words_and_all_of_them_are_its_own_fault(
    filmed: Home,
) -> None:
    filmed.store.put("media/a.mp4", filmed.store.fetch("media/film.mp4"))

    class Failing(BrightestChannel):
        def caption(self, rgb: np.ndarray) -> str:
            if (caption := super().caption(rgb)) == "a red wall":
                raise RuntimeError("shapes do not match")
            return caption

    other = shot(1, media_key="media/a.mp4")
    messages: list[str] = []
    assert {r["clip_id"] for r in visual_rows(filmed, [shot(0), other], ITEMS, Failing(), say=messages.append)} == {
        "c-1"
    }
    assert any("shapes do not match" in line for line in messages)
    with pytest.raises(RuntimeError, match="shapes"):
        visual_rows(filmed, [shot(0), shot(0, clip_id="c-2", media_key="media/a.mp4")], ITEMS, Failing())


def test_short_clips_are_looked_at_less_often() -> None:
    assert moments(shot(0, end_frame=1)) == [0]
    assert moments(shot(0, end_frame=2)) == [1, 0]
    assert moments(shot(0, end_frame=0)) == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "caption.empty"),
        ("wall", "caption.empty"),
        ("12 34 !!", "caption.empty"),
        ("a wall " * 80, "caption.too_long"),
        ("a red\u202e wall", "caption.control_characters"),
        ("a red\x1b[31m wall", "caption.control_characters"),
        ("the sea and the sky and the sea and the sky and the sea and the sky", "caption.repeats"),
        ("a wall wall wall wall", "caption.repeats"),
    ],
)
def test_words_that_are_no_sentence_are_refused_with_the_reason(text: str, code: str) -> None:
    assert any(reason.startswith(code) for reason in malformed(text))


@pytest.mark.parametrize(
    "text", ["a red wall", "A man walks; behind him, the sea.", "Un vélo rouge", "a dog, a dog and a cat"]
)
def test_plain_sentences_are_not(text: str) -> None:
    assert malformed(text) == []


@pytest.mark.parametrize(
    ("text", "changes", "verdicts", "likeness", "code"),
    [
        (
            "a street at night",
            {},
            {"time_of_day": "pass"},
            0.5,
            "caption.contradicts_time_of_day: says night, declared is day",
        ),
        ("a street at night", {}, {"time_of_day": "unmeasurable"}, 0.5, "caption.contradicts_time_of_day"),
        ("a street at night", {}, {"time_of_day": "fail"}, 0.5, None),  # the declaration was refuted, not the caption
        ("a street at noon", {}, {"time_of_day": "pass"}, 0.5, None),
        ("a man on a street", {}, {}, 0.5, "caption.contradicts_people: says man, nobody is declared"),
        ("a man on a street", {"persons_json": '[{"person_id": "p"}]'}, {}, 0.5, None),
        ("a romantic street", {}, {}, 0.5, None),
        ("a bowl of soup", {}, {}, 0.02, "caption.contradicts_subject: likeness 0.020"),
        ("a bowl of soup", {}, {}, None, None),
    ],
)
def test_what_speaks_against_declared_facts_is_kept_and_not_told(
    shot: Row, item: Row, text: str, changes: Row, verdicts: Row, likeness: float | None, code: str | None
) -> None:
    seen = {"variant": 1, "frame": 9, "text": text, "captioner": "visual/m-1/prompt-1", "likeness": likeness}
    (row,) = visual_caption_rows(Facts(shot, item | changes, None, verdicts), [seen], 0.1)
    assert row["text"] == text
    assert [reason.startswith(code) for reason in row["refused"]] == [True] if code else row["refused"] == []
    assert json.loads(row["sources_json"])[0]["source"] == "captioner visual/m-1/prompt-1, frame 9"
    assert (row["kind"], row["variant"], row["captioner"]) == ("long", 1, "visual/m-1/prompt-1")


def test_refused_words_get_no_vector(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vlm, "encoder_name", lambda folder: "encoder")
    monkeypatch.setattr(vlm, "text_vectors", lambda home, model, texts: {t: [0.0] * 384 for t in texts})
    own = {"clip_id": "c", "item_id": "i", "shot_index": 0, "received_day": "2026-11-02", "kind": "long"}
    rows = [
        own | {"captioner": "structured/2", "variant": 0, "text": "caption", "refused": []},
        own | {"captioner": "structured/2", "variant": 1, "text": "told otherwise", "refused": []},
        own | {"captioner": "visual/m", "variant": 0, "text": "refused", "refused": ["caption.empty"]},
        own | {"captioner": "visual/m", "variant": 1, "text": "seen", "refused": []},
    ]
    made = embedding_rows(home, rows)
    assert [(row["captioner"], row["variant"]) for row in made] == [("structured/2", 0), ("visual/m", 1)]


def test_a_folder_without_weights_is_no_captioner(tmp_path: Path) -> None:
    with pytest.raises(BadCaptioner, match="no safetensors"):
        captioner_name(tmp_path / "nothing")
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickled")
    with pytest.raises(BadCaptioner, match="no safetensors"):
        LocalCaptioner(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "processor_config.json", "tokenizer_config.json"])
def test_a_model_that_brings_code_of_its_own_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / name).write_text(json.dumps({"auto_map": {"AutoModel": "evil.Model"}}))
    with pytest.raises(BadCaptioner, match="code of its own"):
        LocalCaptioner(tmp_path)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_blip(tmp_path_factory.mktemp("models") / "tiny-blip")


@pytest.mark.slow
def test_a_real_model_says_what_it_sees_and_the_same_again(tiny: Path) -> None:
    first, second = LocalCaptioner(tiny), LocalCaptioner(tiny)
    assert [first.caption(picture) for picture in (RED, BLUE)] == ["a red wall", "a blue sea"]
    assert [second.caption(picture) for picture in (BLUE, RED)] == ["a blue sea", "a red wall"]
    assert first.name == second.name == captioner_name(tiny)
    assert first.name.startswith("visual/tiny-blip-")
    assert first.name.endswith(f"/{PROMPT_VERSION}")


@pytest.mark.slow
def test_other_weights_have_another_name_and_missing_ones_are_an_error(tiny: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    other = Path(shutil.copytree(tiny, tmp_path / "tiny-blip"))
    tensors = load_file(other / "model.safetensors")
    lost = sorted(tensors)[0]
    save_file(
        {name: tensor for name, tensor in tensors.items() if name != lost},
        other / "model.safetensors",
        {"format": "pt"},
    )
    assert captioner_name(other) != captioner_name(tiny)
    with pytest.raises(BadCaptioner, match="lack 1 tensors"):
        LocalCaptioner(other)
    (other / "config.json").write_text('{"model_type": "nothing"}')
    with pytest.raises(BadCaptioner, match="transformers cannot load it"):
        LocalCaptioner(other)


@pytest.mark.slow
def test_a_real_model_tells_the_clips_of_a_film(filmed: Home, tiny: Path) -> None:
    rows = vlm.visual_rows(filmed, [shot(0), shot(1)], ITEMS, LocalCaptioner(tiny))
    assert [row["text"] for row in rows] == ["a red wall"] * 3 + ["a blue sea"] * 3


@pytest.mark.slow
def test_the_stage_asks_the_captioner_that_the_home_names_and_nobody_without_one(filmed: Home, tiny: Path) -> None:
    import dagster as dg

    from assets.curation import assets as stage

    day = "2026-11-02"
    columns = {"bytes_sha256": "b", "start_s": 0.0, "end_s": 1.5, "boundary": "end", "detector_version": "1"}
    filmed.lake.write("shots", [shot(index) | columns for index in (0, 1)], day)
    nothing = {"position": 0, "file_name": "f", "persons_json": "[]", "state": "accepted", "reasons": []}
    item = {"item_id": "i-1", "delivery_id": "d", "received_day": day, "declared_subject": "a red wall"}
    filmed.lake.write("delivery_items", [item | nothing], day)

    def messages(home: Home) -> list[str]:
        instance = dg.DagsterInstance.ephemeral()
        instance.add_dynamic_partitions("received_day", [day])
        asset = [stage.visual_captions]
        assert dg.materialize(asset, instance=instance, partition_key=day, resources={"home": home}).success
        return [row["text"] for row in home.lake.rows("visual_captions", day)]

    assert messages(filmed) == []
    assert messages(dataclasses.replace(filmed, captioner=tiny)) == ["a red wall"] * 3 + ["a blue sea"] * 3
    assert messages(filmed) == []  # absent means absent
    with pytest.raises(BadCaptioner, match="no captioner"):
        messages(dataclasses.replace(filmed, captioner=tiny / "nothing"))
