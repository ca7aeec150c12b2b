"""What a packaged model needs beside its weights in order to serve: `serving.json` in the package.

Paths in it are those of the machine that registered the model; the environment overrides them elsewhere.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FILE = "serving.json"


@dataclass(frozen=True)
class Serving:
    """`claims` go into every video's manifest: model_id, snapshot_root, ledger_checkpoint."""

    text_encoder: str  # folder of the sentence encoder; RUSHES_TEXT_ENCODER overrides it
    keys: str  # folder of the signing identity and the watermark key; RUSHES_SIGNING_KEYS overrides it
    claims: dict[str, Any]

    def write(self, folder: Path) -> None:
        (Path(folder) / FILE).write_text(json.dumps(asdict(self), indent=2, sort_keys=True) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Serving:
        fields = json.loads((Path(folder) / FILE).read_text())
        fields["text_encoder"] = os.environ.get("RUSHES_TEXT_ENCODER", fields["text_encoder"])
        fields["keys"] = os.environ.get("RUSHES_SIGNING_KEYS", fields["keys"])
        return cls(**fields)
