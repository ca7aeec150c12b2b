"""The child process that measures files: `python -m assets.signals.worker '<limits as JSON>'`.

Reads `{"path": ..., "faces": ..., "plugins": ..., "digests": ...}` lines and answers each with one JSON line: the result of
`signals.measure`, or `{"error": <reason>}`. How it is bounded is in `workers.serving`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from assets.decode.limits import Limits
from assets.decode.worker import serve
from assets.reasons import Code, printable
from assets.signals.plugins import BadScorer, load
from assets.signals.single_pass import measure


def answer(request: dict[str, Any], limits: Limits, pulse: Callable[[], None]) -> dict[str, Any]:
    """What `measure` gives; an ordinary failure as `error`."""
    import av

    try:
        plugins = load({name: Path(model) for name, model in request["plugins"].items()})
        faces = Path(request["faces"]) if request["faces"] else None
        digests = Path(request["digests"]).read_bytes() if request.get("digests") else None
        return measure(Path(request["path"]), faces, plugins, pulse, limits.pixels, digests)
    except (MemoryError, av.error.MemoryError):
        reason = Code.OUT_OF_MEMORY.because(f"more than {limits.memory_bytes} bytes were needed")
    except av.error.FFmpegError as error:
        reason = Code.DECODE_ERRORS.because(error.strerror or type(error).__name__)
    except BadScorer as error:  # no file's fault
        reason = f"plugin.unusable: {printable(str(error))}"
    except Exception as error:  # whatever else a file provokes in a library is a fact about this file alone
        reason = Code.CRASHED.because(f"{type(error).__name__}: {error}")
    return {"error": reason}


if __name__ == "__main__":
    serve(answer)
