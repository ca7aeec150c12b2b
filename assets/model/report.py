"""Pictures of a training run for the Dagster UI: its curves, and originals beside what the autoencoder makes of them.

Belongs here: choosing what to show. Drawing is `assets.pages.plots`'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from assets.dataset import renditions
from assets.home import Home
from assets.model import published
from assets.model.outcome import HELD_OUT, TRAIN_LOSS, Outcome
from assets.pages.plots import contact_sheet, line_plot

SHOWN = 6  # held-out clips in the picture


def curves(outcome: Outcome) -> bytes:
    """A PNG of the training loss and the held-out measure over steps."""
    held_out = HELD_OUT[outcome.task][0]
    series = {name: points for name in (TRAIN_LOSS, held_out) if (points := outcome.curve(name))}
    return line_plot(series, title=outcome.change, xlabel="step", log=outcome.task == "codec")


def reconstruction(home: Home, model_key: str, members: Sequence[Mapping[str, Any]]) -> bytes:
    """A WebP with the middle frames of some held-out clips in the first row and their reconstructions in the second."""
    import torch
    from safetensors.numpy import load

    from training.model.codec import load_codec, to_bytes, to_unit

    codec = load_codec(published.local_folder(home, model_key, ("codec",)))
    shown = [member for member in members if member["split"] == "heldout"][:SHOWN]
    originals, remade = [], []
    for member in shown:
        frames = torch.from_numpy(load(home.store.get(renditions.key(member["clip_id"])))["frames"])
        with torch.no_grad():
            decoded = to_bytes(codec.decode(codec.encode(to_unit(frames)[None]))[0])
        originals.append(frames[len(frames) // 2].numpy())
        remade.append(decoded[len(frames) // 2].numpy())
    return contact_sheet(originals + remade, ["original"] * len(shown) + ["reconstruction"] * len(shown), len(shown))
