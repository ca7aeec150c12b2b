"""Thumbnails and remembered texts of a withdrawn clip go; what others share stays."""

from __future__ import annotations

import json

from assets.home import Home
from assets.signals.files import result_key
from assets.withdrawals.artifacts import carry_out, rows_about
from assets.withdrawals.plan import AUDIT_EVERY, act_on_ledger
from tests.assets.withdrawals.states import NOW, disputed
from tests.worlds import Copy, Reached
from training.model.text import text_key

VERSIONS = ("signals-1_shots-1", "signals-2_shots-1")  # older ones are remembered, too
SIGNALS = {"sharpness": 9.0}


def remember(at: Reached) -> list[str]:
    """The acting clip and another one of the same file, measured by two versions."""
    sha256 = at.media_key.removeprefix("media/").split("/")[-1].split(".")[0]
    keys = [result_key(version, sha256) for version in VERSIONS]
    shots = [
        {"clip_id": clip_id, "thumbnail": "cGljdHVyZQ==", "signals": {"sharpness": 9.0}}
        for clip_id in (at.clip, "f" * 64)
    ]
    for key in keys:
        at.home.store.put(key, json.dumps({"shots": shots}).encode())
    return keys


def shown(at: Reached, key: str) -> dict[str, bool]:
    shots = json.loads(at.home.store.get(key))["shots"]
    assert [shot["signals"] for shot in shots] == [SIGNALS] * 2
    return {shot["clip_id"]: bool(shot["thumbnail"]) for shot in shots}


def test_a_revocation_takes_the_pictures_of_its_clip_and_no_other(copied: Copy) -> None:
    at = copied()
    keys = remember(at)
    at.world.revoke(at.clip)
    (done,) = act_on_ledger(at.home, at.size, NOW).withdrawals
    assert [shown(at, key) for key in keys] == [{at.clip: False, "f" * 64: True}] * 2
    (receipt,) = (json.loads(at.home.store.get(key)) for key in at.home.store.list("receipts") if done in key)
    assert all(f"{key}/{at.clip}" in json.dumps(receipt) for key in keys)


def test_a_revocation_takes_the_unfinished_runs_that_saw_its_clip(copied: Copy) -> None:
    at = copied()
    for name, root in (("seen", at.root), ("other", "ab" * 32)):
        folder = f"runs/{name}/checkpoints/step-00000020"
        at.home.store.put(f"{folder}/weights.safetensors", b"weights")
        at.home.store.put(f"{folder}/state.json", json.dumps({"exposure": [root]}).encode())
    at.world.revoke(at.clip)
    assert act_on_ledger(at.home, at.size, NOW).withdrawals
    assert {key.split("/")[1] for key in at.home.store.list("runs")} == {"other"}


def test_pictures_that_a_later_run_remembers_again_go_at_the_next_audit(copied: Copy) -> None:
    at = copied()
    at.world.revoke(at.clip)
    act_on_ledger(at.home, at.size, NOW)
    keys = remember(at)
    act_on_ledger(at.home, at.size + 1, NOW + AUDIT_EVERY)
    assert [shown(at, key) for key in keys] == [{at.clip: False, "f" * 64: True}] * 2


def test_an_open_dispute_takes_no_picture(copied: Copy) -> None:
    at = copied()
    keys = remember(at)
    disputed(at)
    act_on_ledger(at.home, at.size, NOW)
    assert [shown(at, key) for key in keys] == [{at.clip: True, "f" * 64: True}] * 2


DAY = "2026-11-02"
SAID = {
    "gone": {"structured/2": ["a wall by day", "by day, a wall", "a wall"], "visual/m/prompt-1": ["a red wall"]},
    "kept": {"structured/2": ["a door by day", "a wall"]},
}


def places(text: str) -> tuple[str, str]:
    name = text_key(text)
    return f"cache/embeddings/minilm/{name[:2]}/{name}.json", f"scratch/text-tokens/encoder/{name}.safetensors"


def test_every_phrasing_of_a_withdrawn_clip_is_forgotten_wherever_it_was_encoded(home: Home) -> None:
    captions, seen = [], []
    for clip, captioners in SAID.items():
        own = {"clip_id": clip, "item_id": f"i-{clip}", "shot_index": 0, "received_day": DAY}
        for captioner, texts in captioners.items():
            for variant, text in enumerate(texts):
                of = own | {"captioner": captioner, "variant": variant, "text": text}
                captions.append(of | {"kind": "long", "sources_json": "[]", "refused": []})
                seen += [of | {"start_frame": 0, "frame": 1}] if captioner.startswith("visual") else []
                for key in places(text):
                    home.store.put(key, b"encoded")
    home.lake.write("captions", captions, DAY)
    home.lake.write("visual_captions", seen, DAY)
    carry_out(home, "w-1", rows_about(home, {"gone"}, "delete"), {})
    assert {row["clip_id"] for row in home.lake.rows("captions", DAY)} == {"kept"}
    assert home.lake.rows("visual_captions", DAY) == []
    left = {
        text
        for texts in SAID.values()
        for phrasings in texts.values()
        for text in phrasings
        if home.store.exists(places(text)[0])
    }
    assert left == {"a door by day", "a wall"}
    assert {text for text in left if (home.state / places(text)[1]).exists()} == left
    assert not (home.state / places("a red wall")[1]).exists()
    assert rows_about(home, {"gone"}, "delete") == []
