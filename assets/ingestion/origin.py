"""Our own watermark on delivered files: what a model made must not come back as footage.

The probe's worker sends block spectra of a few stretches of film; here, where the key is, they are read. Whether a
finding condemns a clip is decided in curation, from the stored chance of a false alarm.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from assets.decode.evidence import FIXED_POINT
from assets.decode.probe_pool import ProbeResult
from assets.home import Home
from assets.marks.watermark import ROWS, find_mark, payload_of, watermark_key

WORTH_NAMING = -3.0  # log10 of the chance below which the bits that were read are kept
ANCHORS = "trust/c2pa.pem"  # in the home's local state: roots of capture devices whose signatures are trusted


class MarkReader:
    """Looks for the watermark of this home's key, with the payloads of all models that were released."""

    def __init__(self, key: bytes, payloads: tuple[int, ...] = ()) -> None:
        self.key, self.payloads = key, payloads

    @classmethod
    def of(cls, home: Home) -> MarkReader:
        models = sorted({key.split("/")[1] for key in home.store.list("release") if key.count("/") >= 2})
        return cls(watermark_key(home.signing), tuple(payload_of(model) for model in models))

    def read(self, result: ProbeResult) -> ProbeResult:
        """The result with what was found in its evidence, and without the evidence."""
        grid, corner, extent = (result.picture[i : i + 2] for i in (0, 2, 4)) if result.picture else ((), (), ())
        mark = None
        if result.windows:
            spectra = [_unpacked(window) for window in result.windows]
            mark = find_mark(spectra, _pair(grid), _pair(corner), _pair(extent), self.key, self.payloads)
        result = replace(result, windows=(), picture=())
        if mark is None:
            return result
        payload = f"{mark.payload:08x}" if mark.log10_p <= WORTH_NAMING else None
        return replace(result, watermark_log10_p=mark.log10_p, watermark_payload=payload)


def trusted_devices(home: Home) -> Path | None:
    """The PEM file of trusted roots, where whoever runs the platform has put one."""
    path = home.state / ANCHORS
    return path if path.is_file() else None


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    first, second = values
    return first, second


def _unpacked(window: Mapping[str, Any]) -> np.ndarray:
    data = np.frombuffer(base64.b64decode(window["spectra"]), "<i2")
    return data.reshape(-1, len(ROWS)).astype(np.float64) / FIXED_POINT
