"""Videos to be marked, as a small model would make them: smooth, coloured, moving."""

from pathlib import Path

import numpy as np
import pytest

from training.data.video import write_mp4

CLAIMS = {"model_id": "model-1", "snapshot_root": "ab" * 32, "ledger_checkpoint": "7:" + "cd" * 32}


def moving(height: int = 64, width: int = 64, frames: int = 17, seed: int = 0) -> np.ndarray:
    """Coloured waves that move, uint8 [T, H, W, 3]: no texture in which a watermark could hide."""
    y, x = np.mgrid[:height, :width]
    tone = np.random.default_rng(seed).uniform(0.2, 1, 3)
    waves = [90 * np.sin((x + 4 * t) / 9)[..., None] * tone + 30 * np.cos(y / 7)[..., None] for t in range(frames)]
    return np.clip(128 + np.stack(waves), 0, 255).astype(np.uint8)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return write_mp4(tmp_path / "raw.mp4", moving(), 8)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys"
