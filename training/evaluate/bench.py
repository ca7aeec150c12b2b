"""What the measurements of a scorecard share: the model, the clips, the networks, videos of captions."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training import device
from training.config import EvaluateConfig
from training.data.clips import DataError, Encoded, FrameClips, LatentClips, read_measured, read_members
from training.data.packing import Sample
from training.data.video import read_frames
from training.evaluate.flow_losses import spread
from training.evaluate.heldout import reconstruct
from training.networks.brisque import Brisque
from training.networks.i3d import I3d
from training.networks.imagenet import EfficientNetLite0
from training.networks.lpips import Lpips
from training.networks.sscd import Sscd
from training.sampling.sampler import Options, Pipeline

Video = tuple[Tensor, float]  # frames uint8 [T, H, W, 3], and frames per second
CAMERA = ("pan", "tilt", "zoom")  # of what was measured of a clip, what its prompt repeats


@dataclass
class Bench:
    """The model and the clips that the measurements share. What is missing is a DataError or a TextEncoderError."""

    config: EvaluateConfig
    pipeline: Pipeline

    @cached_property
    def heldout(self) -> list[dict[str, Any]]:
        return read_members(self.config.manifest, "heldout")

    @cached_property
    def train(self) -> list[dict[str, Any]]:
        return read_members(self.config.manifest, "train")

    @cached_property
    def frames(self) -> FrameClips:
        return FrameClips(self.config.frames_dir, [*self.heldout, *self.train])

    @cached_property
    def heldout_videos(self) -> dict[str, Video]:
        return {m["clip_id"]: self.frames.read(m["clip_id"]) for m in self.heldout}

    @cached_property
    def numbers(self) -> dict[str, dict[str, float]]:
        return read_measured(self.config.numbers)

    @cached_property
    def samples(self) -> list[Sample]:
        """The held-out clips as the transformer reads them."""
        c, patch, stride = self.config, self.pipeline.model.config.patch, self.pipeline.codec.config.stride
        encoded = Encoded(c.latents_dir, c.text_dir, patch, stride)
        clips = LatentClips(encoded, self.heldout, measured=self.numbers)
        return [clips.read(clip_id) for clip_id in clips.captions]

    @cached_property
    def parts(self) -> dict[str, list[str]]:
        return slices(self.samples, read_classes(self.config.classes))

    @cached_property
    def made(self) -> list[Video]:
        """The model's own samples that were named."""
        videos = (read_frames(Path(item["path"])) for item in self.config.samples or ())
        return [(torch.from_numpy(frames), fps) for frames, fps in videos]

    # what the networks look at: some of the held-out clips, as many of the training clips, and what the model makes

    @cached_property
    def real(self) -> dict[str, Video]:
        chosen = spread(self.heldout, self.config.clips)
        return {m["clip_id"]: self.heldout_videos[m["clip_id"]] for m in chosen}

    @cached_property
    def trained(self) -> list[Video]:
        return [self.frames.read(m["clip_id"]) for m in spread(self.train, self.config.clips)]

    @cached_property
    def coded(self) -> dict[str, Tensor]:
        """Every held-out clip as the codec gives it back."""
        return {
            clip_id: reconstruct(self.pipeline.codec, frames) for clip_id, (frames, _) in self.heldout_videos.items()
        }

    @cached_property
    def asked(self) -> dict[str, Video]:
        """What the model makes of the captions of `real`: as large and long as each clip, with its camera's motion."""
        captions = {m["clip_id"]: m["caption"] for m in self.heldout}
        videos = {}
        for i, (clip_id, (frames, fps)) in enumerate(self.real.items()):
            count, height, width, _ = frames.shape
            known = {name: value for name, value in self.numbers.get(clip_id, {}).items() if name in CAMERA}
            known |= {} if math.isnan(fps) else {"fps": fps}
            options = Options(frames=count, size=(width, height), numbers=known)
            (video,) = self.pipeline([captions[clip_id]], [self.config.seed + i], options)
            videos[clip_id] = (video, self.pipeline.fps(options))
        return videos

    @cached_property
    def generated(self) -> dict[str, Video]:
        """All videos of the model: the samples that were named, and what it makes of held-out captions."""
        return {f"sample-{i}": video for i, video in enumerate(self.made)} | self.asked

    # each of them is a NetworkError where its file is missing

    @property
    def device(self) -> torch.device:
        return device.of(self.pipeline.model)

    @cached_property
    def i3d(self) -> I3d:
        return I3d.load(self.config.networks).to(self.device)

    @cached_property
    def imagenet(self) -> EfficientNetLite0:
        return EfficientNetLite0.load(self.config.networks).to(self.device)

    @cached_property
    def lpips(self) -> Lpips:
        return Lpips.load(self.config.networks).to(self.device)

    @cached_property
    def sscd(self) -> Sscd:
        return Sscd.load(self.config.networks)

    @cached_property
    def brisque(self) -> Brisque:
        return Brisque.load(self.config.networks)


def slices(clips: Sequence[Sample], classes: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    """Clip ids by slice: all, by aspect, by motion below or above the median, and by each class that a clip is known to be of.

    Aspect and motion are those of the clips as the model sees them.
    """
    parts: dict[str, list[str]] = defaultdict(list)
    motions = sorted(s.numeric[1] for s in clips)
    for sample in clips:
        _, down, across = sample.grid
        own = {"aspect": "square" if down == across else "landscape" if across > down else "portrait"}
        motion = sample.numeric[1]
        if not math.isnan(motion):
            own["motion"] = "high" if motion > motions[len(motions) // 2] else "low"
        parts["all"].append(sample.clip_id)
        for dimension, name in {**classes.get(sample.clip_id, {}), **own}.items():
            parts[f"{dimension}={name}"].append(sample.clip_id)
    return dict(parts)


def read_classes(path: str) -> dict[str, dict[str, str]]:
    """Classes by clip and dimension from a JSON file; nothing where no file is named. DataError for what is none."""
    if not path:
        return {}
    try:
        by_clip = json.loads(Path(path).read_text())
        return {clip_id: {str(k): str(v) for k, v in classes.items()} for clip_id, classes in by_clip.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(f"{path}: cannot be read as classes of clips: {error}") from error
