"""Contact sheets of a day's files, from the thumbnails that the probe left: nothing is decoded for them."""

from __future__ import annotations

import base64
import io

from assets.pages.plots import contact_sheet

MAX_PICTURES = 36


def sheet(files: list[tuple[str, tuple[str, ...]]]) -> bytes | None:
    """A WebP sheet of `files`, each (name, base64 thumbnails); None where no file has a picture."""
    import numpy as np
    from PIL import Image

    shown = [(name, picture) for name, pictures in files for picture in pictures][:MAX_PICTURES]
    if not shown:
        return None
    frames = [np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")) for _, data in shown]
    return contact_sheet(frames, [name for name, _ in shown])
