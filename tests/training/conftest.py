"""A tiny real world to train on: simulated clips of two shapes, a ledger with signed consent, and a sealed snapshot."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from assets.consent.ledger import Ledger
from tests.training.consent.people import People, clip
from training.config import TrainConfig
from training.consent.eligibility import decision_window
from training.consent.snapshot import seal
from training.model.config import build
from training.model.text import text_key
from training.simulate import random_scene, render

torch.set_num_threads(1)

SIZES = ((32, 32), (48, 32))  # width and height


def scene_clip(seed: int) -> torch.Tensor:
    """uint8 [9, H, W, 3] of the scene of a seed."""
    width, height = SIZES[seed % len(SIZES)]
    return torch.from_numpy(render(random_scene(seed), width, height, 9, 8.0))


@dataclass
class TrainingWorld:
    """Files of a sealed snapshot and what it takes to train on it or to withdraw from it."""

    root: Path
    people: People
    consents: list[dict[str, Any]]
    manifest: Path
    snapshot_root: str

    def config(self, name: str = "run", **changes: Any) -> TrainConfig:
        values: dict[str, Any] = {
            "task": "codec",
            "run_dir": str(self.root / name),
            "manifest": str(self.manifest),
            "snapshot_root": self.snapshot_root,
            "database_url": self.people.url,
            "frames_dir": str(self.root / "frames"),
            "steps": 6,
            "eval_every": 4,
            "checkpoint_every": 2,
            "batch_tokens": 160,
            "warmup": 2,
            "codec_shape": {"patch": 8, "channels": 64, "width": 16, "encoder_blocks": 1, "decoder_blocks": 1},
            # it predicts the velocity: no start to lose
            "transformer_shape": {"patch": 2, "width": 32, "layers": 2, "heads": 2, "predicts": "velocity"},
        }
        return build(TrainConfig, values | changes)

    def flow_config(self, name: str = "flow", **changes: Any) -> TrainConfig:
        own = {"latents_dir": "latents", "codec_dir": "codec", "text_dir": "texts"}
        folders = {key: str(self.root / value) for key, value in own.items()}
        return self.config(name, **{"task": "transformer", "batch_tokens": 60, **folders} | changes)


def make_world(root: Path, clips: int = 10, first: int = 0, people: People | None = None) -> TrainingWorld:
    """A snapshot of scenes from seed `first` on, the last three of them held out, in the ledger of `people` if given."""
    (root / "frames").mkdir(parents=True)
    if people is None:
        people = People(f"sqlite:///{root / 'rushes.db'}")
        people.now = datetime.now(UTC) - timedelta(hours=2)
        for name in ("c-ann", "c-ben"):
            people.join(name)
    members, consents = [], []
    for seed in range(first, first + clips):
        frames = scene_clip(seed)
        clip_id = hashlib.sha256(frames.numpy().tobytes()).hexdigest()
        who, split = ("c-ben", "heldout") if seed >= first + clips - 3 else ("c-ann", "train")
        consents.append(people.grant(who, assets=[clip_id]))
        save_file({"frames": frames}, root / "frames" / f"{clip_id}.safetensors", {"fps": "8", "clip_id": clip_id})
        facts = clip(clip_id=clip_id, item_id=f"i-{seed}", bytes_sha256=clip_id, contributor_id=who, dup_group=clip_id)
        same = ("clip_id", "item_id", "shot_index", "bytes_sha256", "contributor_id", "dup_group")
        caption = random_scene(seed).caption()
        members.append(
            {
                **{name: getattr(facts, name) for name in same},
                "media_key": f"media/{clip_id}.mp4",
                "start_frame": 0,
                "end_frame": 9,
                "split": split,
                "caption": caption,
                "caption_short": caption,
                "facts": facts.to_dict(),
                "consent_ids": [consents[-1]["consent_id"]],
            }
        )
    path = root / "manifest.json"
    return TrainingWorld(root, people, consents, path, write_manifest(path, people, members))


def write_manifest(path: Path, people: People, members: list[dict[str, Any]]) -> str:
    """Seal members as the ledger stands now, into this file; the root."""
    head = people.ledger.head()
    at, until = decision_window(head, people.now)
    undecided = [{name: value for name, value in m.items() if name != "decision_digest"} for m in members]
    manifest = seal(undecided, purpose="train", at=at, until=until, ledger=head)
    path.write_text(json.dumps(manifest))
    return manifest["root"]


def encode_world(world: TrainingWorld) -> None:
    """A PCA codec, its latents, and caption tokens without a text encoder: random, keyed by the text."""
    from training.config import EncodeConfig
    from training.encode import encode_clips
    from training.model.codec import Codec, save_codec, to_unit
    from training.model.config import CodecConfig
    from training.model.flow import keyed

    members = json.loads(world.manifest.read_text())["members"]
    codec = Codec(CodecConfig(width=8, encoder_blocks=1, decoder_blocks=1)).eval()
    codec.initialise([to_unit(scene_clip(seed)) for seed in range(6)])
    save_codec(codec, world.root / "codec", {})
    paths = {"latents_dir": "latents", "codec_dir": "codec", "text_dir": "texts", "frames_dir": "frames"}
    config = EncodeConfig(
        manifest=str(world.manifest),
        snapshot_root=world.snapshot_root,
        database_url=world.people.url,
        text_encoder="",
        **{key: str(world.root / value) for key, value in paths.items()},
    )
    encode_clips(config, members)
    (world.root / "texts").mkdir()
    for text in {m["caption"] for m in members} | {""}:
        tokens = torch.randn(7, 384, generator=keyed("text", text))
        save_file({"tokens": tokens}, world.root / "texts" / f"{text_key(text)}.safetensors")


def copied(world: TrainingWorld, root: Path) -> TrainingWorld:
    """The same world in another folder, with a ledger of its own: what one test appends no other sees."""
    shutil.copytree(world.root, root, dirs_exist_ok=True)
    people = copy.copy(world.people)
    people.url = f"sqlite:///{root / 'rushes.db'}"
    people.ledger = Ledger(people.url)
    return TrainingWorld(root, people, copy.deepcopy(world.consents), root / "manifest.json", world.snapshot_root)


@pytest.fixture(scope="session")
def first_world(tmp_path_factory: pytest.TempPathFactory) -> TrainingWorld:
    """Built once, to be copied."""
    world = make_world(tmp_path_factory.mktemp("world"))
    encode_world(world)
    world.people.ledger.engine.dispose()
    return world


@pytest.fixture
def world(first_world: TrainingWorld, tmp_path: Path) -> TrainingWorld:
    return copied(first_world, tmp_path)
