"""Latents belong to the weights that made them, and one that is missing or not finite is found."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save, save_file

from assets.dataset import renditions
from assets.dataset.sealed import local_view
from assets.dataset.snapshot import build
from assets.home import Home
from assets.model import latents
from assets.model.config import PRESETS, choices
from assets.store import S3Store
from assets.withdrawals import artifacts
from tests.bucket import bucket
from training.config import EncodeConfig
from training.consent.times import now_utc
from training.data.shards import Writer, read_index
from training.encode import encode_sources
from training.model.codec import Codec, save_codec
from training.model.config import LADDER, CodecConfig
from training.model.config import build as build_config


@pytest.fixture
def codec_dir(tmp_path: Path) -> Path:
    return codec(tmp_path / "codec", 1.0)


def codec(folder: Path, value: float) -> Path:
    folder.mkdir()
    save_file({"w": np.full(3, value, np.float32)}, folder / "codec.safetensors")
    return folder


def test_other_weights_and_other_sizes_have_other_latents(home: Home, codec_dir: Path, tmp_path: Path) -> None:
    same, other = codec(tmp_path / "same", 1.0), codec(tmp_path / "other", 2.0)
    assert latents.prefix(home, codec_dir) == latents.prefix(home, same)
    assert latents.prefix(home, codec_dir) != latents.prefix(home, other)
    sizes = {latents.prefix(replace(home, training={"size": size}), codec_dir) for size in LADDER}
    assert len(sizes) == len(LADDER)
    digest = hashlib.sha256((codec_dir / "codec.safetensors").read_bytes() + b"17f-8hz-64px-1").hexdigest()
    assert latents.prefix(home, codec_dir) == f"latents/{digest[:24]}", "what was encoded before is still found"


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
        home.store.put(latents.keys(home, codec_dir, ["clip"])[0], stored)
    unfit = latents.unfit(home, codec_dir, ["clip"])
    assert unfit == {} if defect is None else unfit["clip"].startswith(defect)


def test_only_new_clips_are_encoded_and_the_process_finds_the_others_there(
    small_world: Any, codec_dir: Path, tmp_path: Path
) -> None:
    home: Home = small_world.home
    sealed = build(home, now_utc()).sealed
    renditions.render_all(home, sealed.members)
    first, *others = sealed.clip_ids
    there = save({"latent": np.zeros(1, np.float32)})
    home.store.put(latents.keys(home, codec_dir, [first])[0], there)
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
    assert home.store.get(latents.keys(home, codec_dir, [first])[0]) == there


def test_a_torn_latent_is_made_anew(small_world: Any, codec_dir: Path, tmp_path: Path) -> None:
    home: Home = small_world.home
    sealed = build(home, now_utc()).sealed
    torn = latents.keys(home, codec_dir, sealed.clip_ids[:1])[0]
    home.store.put(torn, b"torn")
    assert latents.missing(home, sealed, codec_dir).clip_ids == sorted(sealed.clip_ids)
    latents.encode_config(home, sealed, codec_dir, tmp_path / "work")
    assert not list((tmp_path / "work").iterdir()), "the process would take it for made"


def encoded(home: Home, sealed: Any, codec_dir: Path, work: Path) -> list[int]:
    """What the processes that are asked for make, one after the other."""
    made = []
    for settings in latents.encodings(home, sealed, codec_dir, work):
        made.append(encode_sources(build_config(EncodeConfig, dict(settings)), sealed.members))
    return made


@pytest.fixture(params=["folder", "bucket"])
def large(request: pytest.FixtureRequest, small_world: Any, tmp_path: Path) -> Iterator[Home]:
    """The small world's home where it trains a large size, in a folder or in S3."""
    home: Home = replace(small_world.home, training={"size": "S"})
    if request.param == "folder":
        yield home
        return
    with bucket("rushes") as client:
        remote = replace(home, store=S3Store(client, "rushes", "site", tmp_path / "cache"))
        for name in [*home.store.list("lake"), *home.store.list("media")]:
            remote.store.put(name, home.store.get(name))
        yield remote


def test_clips_of_a_large_size_become_shards_and_a_withdrawn_one_leaves_its_shard(
    large: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = large
    sealed = build(home, now_utc()).sealed
    folder = tmp_path / "codec"
    save_codec(Codec(CodecConfig(width=8, encoder_blocks=1, decoder_blocks=1)), folder, {})
    monkeypatch.setattr(latents, "BATCH_CLIPS", 2)
    clip_ids, first = sealed.clip_ids, sealed.clip_ids[0]

    frames = load(home.store.get(*renditions.keys(home, [first])))["frames"]
    assert frames.shape == (17, 160, 160, 3), "the codec trains on squares"
    batches = encoded(home, sealed, folder, tmp_path / "work")
    assert sum(batches) == len(clip_ids)
    assert len(batches) == -(-len(clip_ids) // 2)
    assert latents.missing(home, sealed, folder).clip_ids == latents.absent(home, folder, clip_ids) == []
    view = local_view(home, latents.keys(home, folder, clip_ids))
    assert read_index(view).keys() == set(clip_ids)
    assert not any((tmp_path / "work").glob("*.safetensors")), "what is stored does not stay here"
    assert not list((tmp_path / "cache").rglob("*.mp4")), "nor do copies of the files that were encoded"

    (item,) = (item for item in artifacts.made_of(home, [first], "seal") if item.kind == artifacts.SHARDS)
    assert artifacts.remains(home, [item])
    artifacts.carry_out(home, "w-1", [item], {})
    assert not [i for i in artifacts.made_of(home, [first], "seal") if i.kind == artifacts.SHARDS]
    assert latents.absent(home, folder, clip_ids) == [first]
    artifacts.carry_out(home, "w-1", [item], {})  # as after a crash
    assert latents.absent(home, folder, clip_ids) == [first], "the others of its shard are still there"
    assert encoded(home, sealed, folder, tmp_path / "work") == [1]


def test_a_shard_with_a_clip_that_is_no_member_any_more_is_not_stored(
    small_world: Any, codec_dir: Path, tmp_path: Path
) -> None:
    home: Home = replace(small_world.home, training={"size": "S"})
    sealed = build(home, now_utc()).sealed
    work = tmp_path / "work"
    for clip_ids in (sealed.clip_ids[:1], [sealed.clip_ids[1], "withdrawn"]):
        shard = Writer(work)
        for clip_id in clip_ids:
            shard.add(clip_id, torch.zeros(1, 1, 1, 1), 8.0, 0.0)
        shard.close()
    latents.upload_shards(home, sealed, codec_dir, work)
    assert latents.absent(home, codec_dir, sealed.clip_ids) == sealed.clip_ids[1:]
    assert not list(work.iterdir())


def test_every_preset_cuts_clips_for_the_size_that_it_trains(home: Home) -> None:
    for preset in PRESETS:
        trained = choices({"preset": preset}, "codec").get("size", "nano")
        assert renditions.size_of(replace(home, training={"preset": preset})) == trained
    assert renditions.size_of(replace(home, training={"codec": {"size": "B"}, "size": "S"})) == "B"
    with pytest.raises(renditions.RenditionError, match="no size 'huge'"):
        renditions.size_of(replace(home, training={"size": "huge"}))
