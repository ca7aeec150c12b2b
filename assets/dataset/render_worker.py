"""The child process that makes renditions: `python -m assets.dataset.render_worker '<limits as JSON>'`.

Reads `{"member": ..., "source": ..., "source_fps": ..., "rotation_deg": ...}` lines and answers each with one JSON line:
`{"rendition": <base64>}` or `{"error": <why>}`. How it is bounded is in `workers.serving`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

from assets.dataset.renditions import render
from assets.decode.limits import Limits
from assets.decode.worker import serve


def answer(request: dict[str, Any], limits: Limits, pulse: Callable[[], None]) -> dict[str, Any]:
    """What `render` gives; an ordinary failure as `error`."""
    wanted = request | {"source": Path(request["source"]), "pulse": pulse}
    try:
        return {"rendition": base64.b64encode(render(**wanted)).decode()}
    except Exception as error:  # whatever a file provokes in a library is a fact about this file alone
        return {"error": f"{type(error).__name__}: {error}"[:500]}


if __name__ == "__main__":
    serve(answer)
