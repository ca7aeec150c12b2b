"""`python -m training.encode --config encode.json`: what the transformer reads, made once.

Latents of a snapshot's members by the codec, and their captions' tokens by the text encoder. Files that exist are kept:
they are named by clip and by text, and live in folders named by the weights that made them. Consent is checked first, for
the members and for all that the codec ever saw.
Exit codes: 0 done, 1 the configuration or the data do not fit, 3 consent does not hold.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from training import device, process
from training.config import EncodeConfig, read_config
from training.consent.guard import ConsentGuard, ConsentViolation
from training.data.clips import DataError, FrameClips, read_members, texts_of
from training.data.cut import streams
from training.data.shards import Writer, read_index
from training.data.video import VideoError
from training.model.base_folder import is_base
from training.model.codec import load_codec, to_unit
from training.model.conditioning import changes, motion
from training.model.config import ConfigError
from training.model.diffusers_base import BaseTextEncoder
from training.model.exposure import of_weights
from training.model.patches import VideoCodec
from training.model.text import TextEncoder, TextEncoderError, text_key

CHUNK_FRAMES = 32  # pictures that are held at a time, about: a long clip takes no more memory than a short one
CHUNK_PIXELS = 1 << 22  # likewise where they come from a clip's file: four of 720p


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m training.encode", description="Encode clips and captions.")
    parser.add_argument("--config", required=True, help="JSON file, see training/config.py: EncodeConfig")
    try:
        config = read_config(EncodeConfig, parser.parse_args(arguments).config)
        _guard(config).check()
        encode(config)
    except ConsentViolation as error:
        print(error, file=sys.stderr)
        return 3
    except (ConfigError, DataError, TextEncoderError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _guard(config: EncodeConfig) -> ConsentGuard:
    manifests = {ancestor["root"]: ancestor["manifest"] for ancestor in config.ancestors}
    seen = of_weights(Path(config.codec_dir) / "codec.safetensors")
    return ConsentGuard(config.manifest, config.snapshot_root, config.database_url, seen=seen, ancestors=manifests)


def encode(config: EncodeConfig) -> tuple[int, int]:
    """Make what is missing; returns how many latents and how many caption encodings were made."""
    started = time.monotonic()
    members = [m for split in ("heldout", "train") for m in read_members(config.manifest, split)]
    clips = encode_sources(config, members) if config.sources else encode_clips(config, members)
    texts = encode_texts(config, {text for m in members for text in (m["caption_short"], *texts_of(m))} | {""})
    print(f"encoded {clips} clips and {texts} captions in {time.monotonic() - started:.1f} s", flush=True)
    return clips, texts


def encode_clips(config: EncodeConfig, members: list[dict[str, Any]]) -> int:
    """<clip_id>.safetensors: `latent` f32 [C, t, h, w] with the clip's fps and motion beside it.

    A clip whose latent is not finite is left out. Raises DataError where that is true of all of several.
    """
    folder = Path(config.latents_dir)
    missing = [m for m in members if not (folder / f"{m['clip_id']}.safetensors").exists()]
    if not missing:
        return 0
    codec, frames, made = load_codec(config.codec_dir), FrameClips(config.frames_dir, missing), 0
    codec.to(device.chosen(config.device))
    for member in missing:
        clip_id = member["clip_id"]
        z_Cthw, fps, moved = encode_clip(codec, frames, clip_id)
        if not bool(z_Cthw.isfinite().all()):
            print(f"left out: the latent of {clip_id} is not finite", flush=True)
            continue
        metadata = {"clip_id": clip_id, "fps": f"{fps:g}", "motion": f"{moved:.4f}"}
        _write(folder / f"{clip_id}.safetensors", {"latent": z_Cthw}, metadata)
        made += 1
    if not made and len(missing) == len(members) > 1:
        raise DataError(f"no latent of {len(members)} clips is finite: the codec in {config.codec_dir} is at fault")
    return made


def encode_clip(
    codec: VideoCodec, clips: FrameClips, clip_id: str, frames: int = CHUNK_FRAMES
) -> tuple[Tensor, float, float]:
    """A clip's latent [C, t, h, w], frames per second and motion. At most about `frames` pictures are held at a time."""
    stride, fps = codec.config.stride, clips.fps(clip_id)
    z_Cthw, moved = encoded(codec, clips.read_chunks(clip_id, max(1, frames // stride) * stride), fps)
    return z_Cthw, fps, moved


@torch.inference_mode()
def encoded(codec: VideoCodec, parts: Iterable[Tensor], fps: float) -> tuple[Tensor, float]:
    """Latent [C, t, h, w] and motion of a clip whose pictures come in parts, as `FrameClips.read_chunks` gives them."""
    place, differences = device.of(codec), list[Tensor]()

    def chunks() -> Iterator[Tensor]:
        before: list[Tensor] = []  # the picture before the chunk
        for frames_THWC in parts:
            differences.append(changes(torch.cat([*before, frames_THWC])))
            before = [frames_THWC[-1:].clone()]
            yield to_unit(frames_THWC.to(place))[None]

    z_Cthw = torch.cat([z_BCthw.cpu() for z_BCthw in codec.encode_stream(chunks())], dim=2)[0]
    return z_Cthw, motion(torch.cat(differences), fps)


def encode_sources(config: EncodeConfig, members: list[dict[str, Any]]) -> int:
    """Shards of latents, straight from the clips' files: no picture is written, and a few at a time are held.

    A clip that cannot be decoded, or whose latent is not finite, is left out.
    """
    wanted, there = {m["clip_id"] for m in members}, read_index(Path(config.latents_dir))
    rows = [row for row in json.loads(Path(config.sources).read_text()) if row["clip_id"] in wanted - there.keys()]
    codec, shards, made = load_codec(config.codec_dir), Writer(Path(config.latents_dir)), 0
    codec.to(device.chosen(config.device))
    with process.bar("latents", len(rows)) as progress:
        for stream in streams(rows, config.size):
            progress(1)
            clip_id = stream.row["clip_id"]
            try:
                head = stream.open()
                stride = codec.config.stride
                frames = max(1, CHUNK_PIXELS // (head["width"] * head["height"] * stride)) * stride
                parts = (torch.from_numpy(pictures) for pictures in stream.chunks(frames))
                z_Cthw, moved = encoded(codec, parts, head["fps"])
            except VideoError as error:
                progress.say(f"left out: {error}")
                continue
            if not bool(z_Cthw.isfinite().all()):
                progress.say(f"left out: the latent of {clip_id} is not finite")
                continue
            shards.add(clip_id, z_Cthw, head["fps"], moved)
            made += 1
    shards.close()
    if not made and not there and len(rows) > 1:
        raise DataError(f"no latent could be made of {len(rows)} clips; the lines above say why")
    return made


def encode_texts(config: EncodeConfig, texts: Iterable[str]) -> int:
    """<sha256 of text>.safetensors: `tokens` f32 [n, width]."""
    folder = Path(config.text_dir)
    missing = sorted(text for text in texts if not (folder / f"{text_key(text)}.safetensors").exists())
    if not missing:
        return 0
    encoder: BaseTextEncoder | TextEncoder
    if is_base(config.text_encoder):
        encoder = BaseTextEncoder(config.text_encoder, device.chosen(config.device))
    else:
        encoder = TextEncoder(config.text_encoder)
    for text, tokens in zip(missing, encoder.tokens(missing), strict=True):
        _write(folder / f"{text_key(text)}.safetensors", {"tokens": torch.from_numpy(tokens)}, {})
    return len(missing)


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    with process.atomically(path) as partial:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, metadata=metadata)


if __name__ == "__main__":
    process.hold_on()
    sys.exit(main())
