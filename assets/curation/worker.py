"""The child process that measures files: `python -m assets.curation.worker '<limits as JSON>'`.

Reads `{"path": ..., "faces": ..., "plugins": ...}` lines and answers each with one JSON line: the result of
`signals.measure`, or `{"error": ...}`. It limits itself first, holds no credentials, writes no file, and ends when its
input does.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from assets.curation.plugins import load
from assets.curation.signals import measure
from assets.ingestion.probe import Limits
from assets.ingestion.probe_worker import limit_next_file, limit_process


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """What `measure` gives; an ordinary failure (bad file, too much memory) as `error`."""
    try:
        plugins = load({name: Path(model) for name, model in request.get("plugins", {}).items()})
        return measure(Path(request["path"]), Path(request["faces"]) if request["faces"] else None, plugins)
    except Exception as error:  # whatever a decoder throws is a fact about this file alone
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    limits = Limits(**json.loads(sys.argv[1]))
    limit_process(limits)
    # answers keep their own descriptor, so that a library that prints cannot garble them
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    for line in sys.stdin.buffer:
        limit_next_file(limits)
        answers.write(json.dumps(answer(json.loads(line))).encode() + b"\n")


if __name__ == "__main__":
    main()
