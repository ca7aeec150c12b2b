"""SSCD, a descriptor of copies: cropped, blurred, brightened or coded again, a picture keeps it; another picture does not.

The file is a MobileNetV4 distilled from SSCD, as ONNX; OpenCV runs it, so it takes uint8 pictures and gives unit vectors. A
node without OpenCV trains and samples all the same and does not measure this.

Reference: Pizzi et al., "A Self-Supervised Descriptor for Image Copy Detection" (arXiv 2202.10261).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from training.networks import NetworkError, opencv, weights

FILE = "sscd.onnx"
SIDE, WIDTH = 288, 512


class Sscd:
    """The descriptor. One picture at a time: the file has no batches."""

    def __init__(self, network: Any) -> None:
        self.network = network

    @classmethod
    def load(cls, folder: str | Path) -> Sscd:
        """From the folder of networks. Raises NetworkError where the file or OpenCV is missing, or it is no such network."""
        cv2, path = opencv(), weights(folder, FILE)
        try:
            return cls(cv2.dnn.readNetFromONNX(str(path), cv2.dnn.ENGINE_NEW))
        except cv2.error as error:
            raise NetworkError(f"{FILE} does not hold SSCD: {error}; `make setup` fetches it") from error

    def __call__(self, frames_THWC: Tensor) -> Tensor:
        """Unit vectors f32 [T, 512] of uint8 frames, each scaled to 288 x 288."""
        x_TCHW = frames_THWC.permute(0, 3, 1, 2).float()
        x_TCHW = F.interpolate(x_TCHW, size=(SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)
        pictures = x_TCHW.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
        vectors = []
        for picture in pictures:
            self.network.setInput(picture[None])
            vectors.append(self.network.forward()[0].copy())
        return torch.from_numpy(np.stack(vectors))
