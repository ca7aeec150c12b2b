"""How things move in a video, by dense optical flow: VBench's dynamic degree and smoothness, and whether two videos move alike.

VBench (arXiv 2311.17982) asks RAFT for the flow and a frame interpolator for the frames between; here dense inverse search
(Kroeger et al., arXiv 1603.03590) does both, so the numbers compare models that are measured here and not with VBench's table.
Flow is measured in frames of 128 pixels on the short side. Motion is signed and ordered in time, so a video that is played
backwards does not move like itself.

Shape suffixes: T frames, H W pixels, C RGB, 2 across and down, S parts of the time, G parts of a side.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from training.evaluate.rows import Metric
from training.networks import opencv

DYNAMIC = Metric("dynamic_degree", "share", "none", "VBench's rule at 8 frames/s, flow by DIS instead of RAFT, v2")
SMOOTH = Metric("motion_smoothness", "1", "none", "VBench's rule, frames between by DIS instead of AMT, v2")
ALIKE = Metric(
    "motion_agreement", "cosine", "higher", "signed DIS flow, 4 times x 4 x 4 places, against the prompt's clip, v1"
)
SIDE = 128  # pixels on the short side
RATE = 8.0  # frames a second at which the dynamic degree is judged
FAST = 6 * SIDE / 256  # pixels between frames that the fastest twentieth must move; VBench's, scaled
TIMES, PLACES = 4, 4
STILL = 0.004  # diagonals a second: less flow than that is none


def flow(a_HWC: Tensor, b_HWC: Tensor) -> Tensor:
    """Where each pixel of `a` goes in `b`: f32 [h, w, 2] in pixels of frames that are 128 on the short side.

    Raises NetworkError where OpenCV is missing.
    """
    cv2 = opencv()
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    return torch.from_numpy(search.calc(_grey(a_HWC), _grey(b_HWC), None))


def _grey(frame_HWC: Tensor) -> np.ndarray:
    height, width = frame_HWC.shape[:2]
    scale = SIDE / min(height, width)
    x_11HW = frame_HWC.float().mean(-1)[None, None]
    size = (round(height * scale), round(width * scale))
    x_11HW = F.interpolate(x_11HW, size=size, mode="bilinear", align_corners=False, antialias=True)
    return x_11HW[0, 0].round().clamp(0, 255).to(torch.uint8).numpy()


def dynamic(frames_THWC: Tensor, fps: float) -> float | None:
    """1.0 if in a quarter of the frames the fastest twentieth of the pixels moves by FAST, else 0.0. None for one frame."""
    frames_THWC = frames_THWC[:: max(1, round(fps / RATE))]
    if len(frames_THWC) < 2:
        return None
    moving = 0
    for a, b in pairwise(frames_THWC):
        size_N = flow(a, b).norm(dim=-1).flatten()
        moving += float(size_N.topk(max(1, len(size_N) // 20)).values.mean()) > FAST
    return float(moving >= max(1, round(4 * len(frames_THWC) / 16)))


def smoothness(frames_THWC: Tensor) -> float | None:
    """(255 - mean |every second frame - what its neighbours say of it|) / 255: 1 is motion without jerks, or none.

    The neighbours are moved half way along the flow between them and averaged. None for fewer than three frames.
    """
    if len(frames_THWC) < 3:
        return None
    errors = []
    for i in range(1, len(frames_THWC) - 1, 2):
        before, after = frames_THWC[i - 1], frames_THWC[i + 1]
        half_HW2 = flow(before, after) / 2
        between = (_moved(before, -half_HW2) + _moved(after, half_HW2)) / 2
        errors.append(float((between - frames_THWC[i].float()).abs().mean()))
    return (255 - sum(errors) / len(errors)) / 255


def _moved(frame_HWC: Tensor, flow_hw2: Tensor) -> Tensor:
    """The frame read at each pixel plus the flow there, f32 [H, W, C]."""
    size = frame_HWC.shape[:2]
    flow_12HW = F.interpolate(flow_hw2.permute(2, 0, 1)[None], size=size, mode="bilinear", align_corners=False)
    share_HW2 = flow_12HW[0].permute(1, 2, 0) * 2 / torch.tensor(flow_hw2.shape[1::-1])
    places_HW2 = F.affine_grid(torch.eye(2, 3)[None], [1, 1, *size], align_corners=False)[0] + share_HW2
    x_1CHW = frame_HWC.float().permute(2, 0, 1)[None]
    moved = F.grid_sample(x_1CHW, places_HW2[None], padding_mode="border", align_corners=False)
    return moved[0].permute(1, 2, 0)


def moves(frames_THWC: Tensor, fps: float) -> Tensor:
    """Mean flow f32 [S, G, G, 2] in diagonals a second, by part of the time and place in the picture."""
    if len(frames_THWC) < 2:
        return torch.zeros(TIMES, PLACES, PLACES, 2)
    flows = []
    for a, b in pairwise(frames_THWC):
        x_hw2 = flow(a, b)
        places_2GG = F.adaptive_avg_pool2d(x_hw2.permute(2, 0, 1), PLACES)
        flows.append(places_2GG.permute(1, 2, 0) * fps / math.hypot(*x_hw2.shape[:2]))
    flow_1PT = torch.stack(flows, -1).flatten(0, 2)[None]
    return F.adaptive_avg_pool1d(flow_1PT, TIMES)[0].unflatten(0, (PLACES, PLACES, 2)).permute(3, 0, 1, 2)


def agreement(a_SGG2: Tensor, b_SGG2: Tensor) -> float | None:
    """Cosine of the two motions: 1 alike, 0 unrelated or still, -1 the other way. None where `b` does not move."""
    if float(b_SGG2.norm(dim=-1).mean()) < STILL:
        return None
    return float(F.cosine_similarity(a_SGG2.flatten(), b_SGG2.flatten(), dim=0))
