"""Where models compute: one rule for encoding, training, sampling, evaluation and serving.

    the configuration's `device`, else RUSHES_DEVICE, else a GPU (cuda), else Apple's (mps), else the processor

Under `torchrun` each process takes the GPU of its rank. On CUDA the transformer, and a codec that is being trained, compute in
bf16 by autocast, with weights in fp32; positions, norms, modulation and losses stay in fp32 (`full_precision`). Everywhere else
all is fp32. So is a codec that is only used, on CUDA in TF32: bf16 has no more digits than a pixel, and latents are
kept. Noise is drawn on the processor and keyed by clip, so the same seed asks for the same video on each device.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from itertools import chain

import torch
from torch import nn

from training.model.config import ConfigError

VARIABLE = "RUSHES_DEVICE"


def chosen(name: str = "") -> torch.device:
    """The device to compute on; `name` is the configuration's. Raises ConfigError for one that this machine has not."""
    name = name or os.environ.get(VARIABLE, "") or _best()
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # which one depends on how torch was built
        why = str(error).splitlines()[0]
        raise ConfigError(f"device {name!r} cannot be used here; set {VARIABLE} to cuda, mps or cpu: {why}") from error
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)) if device.index is None else device.index)
        torch.set_float32_matmul_precision("high")  # TF32
    return device


def _best() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def of(module: nn.Module) -> torch.device:
    """The device that a module's weights are on; the processor's, for one that has none."""
    return next((tensor.device for tensor in chain(module.parameters(), module.buffers())), torch.device("cpu"))


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """Products in bf16 inside the block, where the device is a GPU that is faster at it."""
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """No autocast inside the block: what would suffer from bf16 stays in fp32."""
    if torch.amp.is_autocast_available(device.type) and torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
