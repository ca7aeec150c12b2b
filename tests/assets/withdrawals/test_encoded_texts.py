"""What was encoded of a withdrawn clip's captions goes with them, every phrasing; what others say as well stays."""

from __future__ import annotations

from assets.home import Home
from assets.withdrawals.artifacts import carry_out, rows_about
from training.model.text import text_key

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
        for said in texts.values()
        for text in said
        if home.store.exists(places(text)[0])
    }
    assert left == {"a door by day", "a wall"}
    assert {text for text in left if (home.state / places(text)[1]).exists()} == left
    assert not (home.state / places("a red wall")[1]).exists()
    assert rows_about(home, {"gone"}, "delete") == []
