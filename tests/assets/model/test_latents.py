"""Latents belong to the weights that made them, and one that is missing or not finite is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save, save_file

from assets.dataset import renditions
from assets.dataset.snapshot import build
from assets.home import Home
from assets.model import latents
from training.consent.times import now_utc


@pytest.fixture
def codec_dir(tmp_path: Path) -> Path:
    return codec(tmp_path / "codec", 1.0)


def codec(folder: Path, value: float) -> Path:
    folder.mkdir()
    save_file({"w": np.full(3, value, np.float32)}, folder / "codec.safetensors")
    return folder


def test_other_weights_have_other_latents(codec_dir: Path, tmp_path: Path) -> None:
    same, other = codec(tmp_path / "same", 1.0), codec(tmp_path / "other", 2.0)
    assert latents.prefix(codec_dir) == latents.prefix(same)
    assert latents.prefix(codec_dir) != latents.prefix(other)


@pytest.mark.parametrize(
    ("stored", "defect"),
    [
        (save({"latent": np.ones((2, 2), np.float32)}), None),
        (save({"latent": np.array([1.0, np.nan], np.float32)}), "not finite"),
        (save({"latent": np.zeros(0, np.float32)}), "not finite"),
        (save({"other": np.ones(1, np.float32)}), "unreadable"),
        (b"torn", "unreadable"),
        (None, "missing"),
    ],
)
def test_every_defect_of_a_latent_is_named(
    home: Home, codec_dir: Path, stored: bytes | None, defect: str | None
) -> None:
    if stored is not None:
        home.store.put(latents.keys(codec_dir, ["clip"])[0], stored)
    found = latents.unfit(home, codec_dir, ["clip"])
    assert found == {} if defect is None else found["clip"].startswith(defect)


def test_only_new_clips_are_encoded_and_the_process_finds_the_others_there(
    small_world: Any, codec_dir: Path, tmp_path: Path
) -> None:
    home: Home = small_world.home
    sealed = build(home, now_utc()).sealed
    renditions.render_all(home, sealed.members)
    first, *others = sealed.clip_ids
    there = save({"latent": np.zeros(1, np.float32)})
    home.store.put(latents.keys(codec_dir, [first])[0], there)
    missing = latents.missing(home, sealed, codec_dir)
    assert missing.clip_ids == others
    assert set(missing.texts) == {text for member in sealed.members for text in member["captions"]}

    work = tmp_path / "work"
    settings = latents.encode_config(home, sealed, codec_dir, work)
    assert [path.name for path in work.iterdir()] == [f"{first}.safetensors"]
    assert len(list(Path(settings["frames_dir"]).iterdir())) == len(sealed.clip_ids)

    for clip_id in others:
        (work / f"{clip_id}.safetensors").write_bytes(
            save({"latent": np.ones(1, np.float32)}, metadata={"b": "1", "a": "2"})
        )
    assert latents.upload(home, codec_dir, work, others) == len(others)
    assert latents.missing(home, sealed, codec_dir).clip_ids == []
    assert home.store.get(latents.keys(codec_dir, [first])[0]) == there


def test_a_torn_latent_is_made_anew(small_world: Any, codec_dir: Path, tmp_path: Path) -> None:
    home: Home = small_world.home
    sealed = build(home, now_utc()).sealed
    torn = latents.keys(codec_dir, sealed.clip_ids[:1])[0]
    home.store.put(torn, b"torn")
    assert latents.missing(home, sealed, codec_dir).clip_ids == sorted(sealed.clip_ids)
    latents.encode_config(home, sealed, codec_dir, tmp_path / "work")
    assert not list((tmp_path / "work").iterdir()), "the process would take it for made"
