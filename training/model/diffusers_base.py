"""The parts of a pretrained base: its text encoder, and its transformer, tuned whole or by LoRA, called as ours is.

`Tuned` takes packed tokens and gives their velocity, so that learner, held-out loss and scorecard need to know no family.
Both families learn rectified flow as we do: x_t = (1 - t) x + t e, the target is e - x, and the transformer is told 1000 t.
They know no given tokens and no numbers but the frame rate.

What is tuned is saved under the names that diffusers uses. An adapter is in the layout of `load_lora_weights`, with
alpha / rank multiplied into the second factor, so that whoever loads it needs no further number.

Shape suffixes: as in transformer.py, and B clips of one shape. Reference: Hu et al., LoRA, arXiv 2106.09685.
"""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training import device
from training.data.packing import Batch
from training.model.base_folder import BaseError, BaseFolder, read_base, require_unchanged
from training.model.config import SamplingConfig, TransformerConfig, read_sampling
from training.model.exposure import Exposure, header
from training.model.text import TextEncoderError
from training.model.transformer import REFERENCE_FPS, from_tokens, to_tokens

TARGETS = ("to_q", "to_k", "to_v", "to_out.0")  # attention's maps, as both families call them
PREFIX = "transformer."  # of an adapter's names
READING: dict[str, Any] = {"local_files_only": True, "use_safetensors": True}


def library() -> Any:
    """The library. Raises BaseError where it is absent."""
    try:
        import diffusers
        import peft  # noqa: F401
    except ImportError as error:
        raise BaseError(
            f'a pretrained base needs diffusers and peft: pip install "rushes[diffusers]" ({error})'
        ) from error
    return diffusers


class BaseTextEncoder:
    """The base's own T5 in fp32, or bf16 on a GPU; one f32 [n, width] a text, without padding."""

    def __init__(self, folder: str | Path, place: torch.device) -> None:
        import transformers

        base = read_base(folder, licence="not asked here")
        transformers.utils.logging.disable_progress_bar()
        kind = getattr(transformers, base.index["text_encoder"][1])
        self.family = base.family
        try:
            self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
                base.path / "tokenizer", local_files_only=True
            )
            self.model: Any = kind.from_pretrained(
                base.path / "text_encoder", dtype=torch.bfloat16 if place.type == "cuda" else torch.float32, **READING
            ).eval()
        except (OSError, ValueError) as error:
            raise TextEncoderError(f"the text encoder of {base.path} cannot be read: {error}") from error
        self.model.to(place)
        self.width: int = self.model.config.d_model

    @torch.inference_mode()
    def tokens(self, texts: Sequence[str]) -> list[np.ndarray]:
        """As the base's pipeline encodes them: LTX lets its encoder attend to padding, Wan does not."""
        encoded = []
        for text in texts:
            pieces = self.tokenizer(
                " ".join(html.unescape(text).split()),
                padding="max_length",
                max_length=self.family.text_length,
                truncation=True,
                return_tensors="pt",
            ).to(self.model.device)
            mask = None if self.family.masked else pieces.attention_mask
            states_MT = self.model(pieces.input_ids, attention_mask=mask).last_hidden_state[0]
            encoded.append(states_MT[pieces.attention_mask[0].bool()].float().cpu().numpy())
        return encoded


class Tuned(nn.Module):
    """A base's transformer. Its parameters and its state are what is tuned alone; the rest stays the base's."""

    sampling = SamplingConfig()

    def __init__(self, base: BaseFolder, tuning: str, lora: Mapping[str, Any], cell: int) -> None:
        """`cell`: pixels a side of one latent cell. Raises BaseError where the folder or the targets do not fit."""
        super().__init__()
        self.base, self.tuning, self.cell = base, tuning, cell
        self.lora = {"rank": 16, "alpha": 16, "targets": list(TARGETS), **lora} if tuning == "lora" else {}
        self.transformer = _transformer(
            base, torch.bfloat16 if self.lora and device.chosen().type == "cuda" else torch.float32
        )
        self.config = _token_shape(self.transformer, base)
        self.null_MT = torch.zeros(1, self.config.text_width)  # the empty caption; set where captions are dropped
        if self.lora:
            self._adapt()

    def _adapt(self) -> None:
        from peft import LoraConfig

        self.transformer.requires_grad_(False)
        rank, alpha, targets = (self.lora[name] for name in ("rank", "alpha", "targets"))
        try:
            self.transformer.add_adapter(LoraConfig(r=rank, lora_alpha=alpha, target_modules=list(targets)))
        except ValueError as error:
            raise BaseError(f"lora: {error}") from error
        for parameter in self.transformer.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()

    @property
    def scale(self) -> float:
        return self.lora["alpha"] / self.lora["rank"] if self.lora else 1.0

    def named_parameters(self, *_: Any, **__: Any) -> Iterator[tuple[str, nn.Parameter]]:
        for name, parameter in self.transformer.named_parameters():
            if not self.lora or ".lora_" in name:
                yield (PREFIX + name.replace(".default.", ".") if self.lora else name), parameter

    def named_buffers(self, *_: Any, **__: Any) -> Iterator[tuple[str, Tensor]]:
        return iter(())  # these families have none that is learned

    def state_dict(self, *_: Any, **__: Any) -> dict[str, Tensor]:  # type: ignore[override]
        return {name: parameter.detach() for name, parameter in self.named_parameters()}

    @torch.no_grad()
    def load_state_dict(self, weights: Mapping[str, Tensor], *_: Any, **__: Any) -> None:  # type: ignore[override]
        own = dict(self.named_parameters())
        if odd := sorted(own.keys() ^ weights.keys()):
            raise RuntimeError(f"{len(odd)} names are on one side only, as {odd[0]}")
        for name, parameter in own.items():
            if parameter.shape != weights[name].shape:
                raise RuntimeError(f"{name} is {list(weights[name].shape)}, not {list(parameter.shape)}")
            parameter.copy_(weights[name])

    def folded(self, weights: Mapping[str, Tensor], factor: float) -> dict[str, Tensor]:
        """The weights with the adapter's second factors multiplied."""
        return {name: w * factor if name.endswith("lora_B.weight") else w for name, w in weights.items()}

    def time_mean(self) -> float | None:
        """Mean of logit(t) that the base's scheduler stands for; None where it grows with the tokens, as ours does."""
        described = json.loads((self.base.path / "scheduler" / "scheduler_config.json").read_text())
        if described.get("use_dynamic_shifting"):
            return None
        return math.log(float(described.get("flow_shift") or described.get("shift") or 1.0))

    @contextmanager
    def untuned(self) -> Iterator[nn.Module]:
        """The base as it was, to compare with."""
        if self.lora:
            self.transformer.disable_adapters()
            try:
                yield self
            finally:
                self.transformer.enable_adapters()
        else:
            yield (
                Tuned(self.base, "full", {}, self.cell).to(next(self.parameters()).device).eval().requires_grad_(False)
            )

    def forward(self, x_NP: Tensor, t_F: Tensor, given_N: Tensor, batch: Batch) -> Tensor:
        """Velocity [N, P] of noisy tokens. A sample's tokens all have its first frame's time; none may be given."""
        if bool(given_N.any()):
            raise ValueError(f"a {self.base.family.name} base knows no given frames: it makes videos from text alone")
        parts, texts = x_NP.split(batch.segments.lengths), list(batch.text_MT.split(batch.text_segments.lengths))
        first = [0, *torch.tensor([grid[0] for grid in batch.grids]).cumsum(0).tolist()]
        seconds = [
            _seconds(place, grid)
            for place, grid in zip(batch.position_N3.split(batch.segments.lengths), batch.grids, strict=True)
        ]
        groups: dict[tuple[Any, ...], list[int]] = {}
        for index, grid in enumerate(batch.grids):
            if not batch.text_kept_S[index]:
                texts[index] = self.null_MT.to(x_NP.device)
            groups.setdefault((grid, seconds[index]), []).append(index)
        made: list[Tensor] = [x_NP] * len(parts)
        for (grid, pace), members in groups.items():
            text = self.padded([texts[i] for i in members])
            x_BNP, t_B = torch.stack([parts[i] for i in members]), torch.stack([t_F[first[i]] for i in members])
            for i, v_NP in zip(members, self._velocity(x_BNP, t_B, text, grid, pace), strict=True):
                made[i] = v_NP.float()
        return torch.cat(made)

    def padded(self, texts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Captions padded with zeros to one length, [B, M, T], and which tokens are theirs, [B, M]."""
        family = self.base.family
        length = max(len(text) for text in texts) if family.masked else family.text_length
        mask_BM = torch.zeros(len(texts), length, dtype=torch.long, device=texts[0].device)
        text_BMT = texts[0].new_zeros(len(texts), length, texts[0].shape[1])
        for row, text_MT in enumerate(texts):
            text_BMT[row, : len(text_MT)] = text_MT
            mask_BM[row, : len(text_MT)] = 1
        return text_BMT.to(self.transformer.dtype), mask_BM

    def _velocity(
        self, x_BNP: Tensor, t_B: Tensor, text: tuple[Tensor, Tensor], grid: tuple[int, int, int], pace: float
    ) -> Tensor:
        x_BNP, patch = x_BNP.to(self.transformer.dtype), self.config.patch
        same: dict[str, Any] = {"timestep": 1000 * t_B, "encoder_hidden_states": text[0], "return_dict": False}
        if self.base.family.masked:
            t, h, w = grid
            same |= {"encoder_attention_mask": text[1], "rope_interpolation_scale": (pace, self.cell, self.cell)}
            return self.transformer(hidden_states=x_BNP, num_frames=t, height=h, width=w, **same)[0]
        z_BCthw = torch.stack([from_tokens(x_NP, grid, patch) for x_NP in x_BNP])
        return torch.stack([to_tokens(v, patch)[0] for v in self.transformer(hidden_states=z_BCthw, **same)[0]])


def _seconds(place_N3: Tensor, grid: tuple[int, int, int]) -> float:
    """Seconds of one latent frame; a picture has no second one, and any number will do."""
    t, h, w = grid
    return round(float(place_N3[h * w, 0]) / REFERENCE_FPS, 6) if t > 1 else 1.0


def _transformer(base: BaseFolder, dtype: torch.dtype) -> Any:
    kind = getattr(library(), base.family.transformer)
    try:
        transformer = kind.from_pretrained(str(base.path / "transformer"), torch_dtype=dtype, **READING)
    except (OSError, ValueError) as error:
        raise BaseError(f"the transformer of base {base.path} cannot be read: {error}") from error
    transformer.enable_gradient_checkpointing()
    return transformer


def _token_shape(transformer: Any, base: BaseFolder) -> TransformerConfig:
    """What the rest of training asks of a transformer: its tokens. Width and layers are those of a small network of such
    tokens, which stands for "untrained" on the scorecard."""
    config = transformer.config
    if base.family.masked:
        times, patch, text_width = config.patch_size_t, config.patch_size, config.caption_channels
    else:
        (times, patch, other), text_width = config.patch_size, config.text_dim
        patch = patch if patch == other else 0
    image = getattr(config, "image_dim", None) or getattr(config, "added_kv_proj_dim", None)
    if times != 1 or patch < 1 or (base.family.masked and patch != 1) or image:
        raise BaseError(
            f"base {base.path}: only transformers from text, of square patches of one frame, can be tuned here"
        )
    channels = config.in_channels
    return TransformerConfig(128, 1, 2, patch=patch, channels=channels, text_width=text_width)


def save_tuned(
    model: Tuned, weights: Mapping[str, Tensor], folder: Path, exposure: Exposure, sampling: SamplingConfig
) -> None:
    """Write transformer.safetensors, with what it saw of ours, and transformer.json, with the base that it rests on."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = {name: tensor.contiguous() for name, tensor in model.folded(weights, model.scale).items()}
    save_file(plain, folder / "transformer.safetensors", header(exposure))
    described: dict[str, Any] = {"kind": "tuned", "base": model.base.facts, "tuning": model.tuning, "lora": model.lora}
    described |= {"cell": model.cell, "sampling": asdict(sampling)}
    (folder / "transformer.json").write_text(json.dumps(described, indent=1, sort_keys=True) + "\n")


def is_tuned(folder: str | Path) -> bool:
    """Whether the model in a folder was tuned from a base."""
    return json.loads((Path(folder) / "transformer.json").read_text()).get("kind") == "tuned"


def load_tuned(folder: str | Path, base_folder: str | Path) -> Tuned:
    """Read what `save_tuned` wrote, over its base; in evaluation mode, without gradients. Raises BaseError."""
    described = json.loads((Path(folder) / "transformer.json").read_text())
    require_unchanged(base_folder, described["base"]["sha256"])
    base = read_base(base_folder, described["base"]["licence"])
    model = Tuned(base, described["tuning"], described["lora"], described["cell"])
    model.sampling = read_sampling(folder)
    model.load_state_dict(model.folded(load_file(Path(folder) / "transformer.safetensors"), 1 / model.scale))
    return model.eval().requires_grad_(False)
