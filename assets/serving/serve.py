"""What a packaged model needs beside its weights in order to serve: `serving.json` in the package.

Paths and addresses in it are those of the machine that registered the model; the environment overrides them elsewhere.
The registry is one of them: consent can be withdrawn after a package was loaded, so whoever answers with the package asks
the registry each time.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from assets.registry.versions import Version

FILE = "serving.json"
ADVICE = "Set RUSHES_MLFLOW_URI to the registry in which it is registered, and see that it can be reached from here."


class NothingToServe(LookupError):
    """There is no model version that may answer."""


@dataclass(frozen=True)
class Serving:
    """`claims` go into every video's manifest: model_id, snapshot_root, ledger_checkpoint."""

    text_encoder: str  # folder of the sentence encoder; RUSHES_TEXT_ENCODER overrides it
    keys: str  # folder of the signing identity and the watermark key; RUSHES_SIGNING_KEYS overrides it
    claims: dict[str, Any]
    registry: str = ""  # MLflow's address, without a password; RUSHES_MLFLOW_URI overrides it

    def write(self, folder: Path) -> None:
        (Path(folder) / FILE).write_text(json.dumps(asdict(self), indent=2, sort_keys=True) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Serving:
        fields = json.loads((Path(folder) / FILE).read_text())
        fields["text_encoder"] = os.environ.get("RUSHES_TEXT_ENCODER", fields["text_encoder"])
        fields["keys"] = os.environ.get("RUSHES_SIGNING_KEYS", fields["keys"])
        fields["registry"] = os.environ.get("RUSHES_MLFLOW_URI", fields.get("registry", ""))
        return cls(**fields)

    def require_untainted(self) -> None:
        """Raise NothingToServe unless the registry says now that no withdrawal reaches this model.

        A registry that cannot be asked is no permission.
        """
        key, where = self.claims.get("model_id"), without_password(self.registry)
        if not where:
            raise NothingToServe(
                f"model {key} does not answer: its package names no registry that knows its taint. {ADVICE}"
            )
        try:
            mine = [version for version in _versions(self.registry) if version.model_key == key]
        except Exception as error:  # whatever the client of a registry raises
            why = f"the registry at {where} cannot be asked whether consent still holds"
            raise NothingToServe(f"model {key} does not answer: {why} ({self._told(error)}). {ADVICE}") from error
        if not mine:
            raise NothingToServe(f"model {key} does not answer: the registry at {where} does not know it. {ADVICE}")
        for version in mine:
            if version.taint:
                raise NothingToServe(f"version {version.number} must not serve: {version.taint}")

    def _told(self, error: Exception) -> str:
        """The error's first line; MLflow names the address in it, whose password is nobody's business."""
        password = urlsplit(self.registry).password
        line = (str(error).splitlines() or [type(error).__name__])[0]
        return line.replace(f":{password}@", "@") if password else line


def _versions(uri: str) -> list[Version]:
    """The versions in the registry at this address."""
    from assets.registry.versions import versions_of

    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # seven take minutes, in which nobody gets an answer
    from mlflow import MlflowClient

    return versions_of(MlflowClient(tracking_uri=uri, registry_uri=uri))


def without_password(uri: str) -> str:
    """The address as it may be written down and shown."""
    parts = urlsplit(uri)
    if parts.password is None:
        return uri
    return urlunsplit(parts._replace(netloc=f"{parts.username}@{parts.netloc.rpartition('@')[2]}"))
