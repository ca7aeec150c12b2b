"""One Rushes installation: where everything is. Assets take a `Home` as a resource and ask it for the rest.

Plain Python: orchestration builds it from settings, tests build it over a temporary folder.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assets.lake import Lake
from assets.store import LocalStore, Store


@dataclass(frozen=True)
class Home:
    """`store` may be remote; `state` is always a local folder (databases, caches, reports)."""

    store: Store
    state: Path
    database_url: str = field(repr=False)  # ledger, requests, reviews: SQLAlchemy URL
    mlflow_uri: str = field(repr=False)  # MLflow tracking and registry
    vendor: Path  # pinned weights and sample footage, fetched by the set-up
    site_timezone: str = "UTC"
    captioner: Path | None = None  # folder of a model that looks at pictures, see curation.captioning.vlm
    training: dict[str, Any] = field(default_factory=dict)  # overrides of the training preset, see training.config
    evaluation: dict[str, int] = field(default_factory=dict)  # how much a scorecard looks at, see evaluation.measuring
    retention: dict[str, str] = field(default_factory=dict)  # of withdrawn things, see withdrawals.artifacts
    executor: str = "local"  # where files are measured, see assets.decode.executor
    launcher: str = "local"  # where the processes of training are, see assets.model.launcher
    kubernetes: dict[str, Any] = field(default_factory=dict)  # the pods of training, see assets.model.on_kubernetes
    duckdb_memory: str = ""  # most memory of a DuckDB connection, such as 4GB; empty: a quarter of the machine's
    mlflow_url: str = "http://127.0.0.1:5000"  # MLflow's UI, for links
    docs_url: str = ""  # where the reports of Great Expectations are served, if they are
    alert_webhook: str | None = field(default=None, repr=False)  # where alerts are posted
    heartbeat_url: str | None = field(default=None, repr=False)  # an outside monitor, told of each good night

    @classmethod
    def local(cls, root: Path, vendor: Path | None = None, **changes: Any) -> Home:
        """An embedded home below `root`: folder store, SQLite databases."""
        root = Path(root).resolve()
        root.mkdir(parents=True, exist_ok=True)
        fields: dict[str, Any] = {
            "store": LocalStore(root),
            "state": root,
            "database_url": f"sqlite:///{root / 'rushes.db'}",
            "mlflow_uri": f"sqlite:///{root / 'mlflow.db'}",
            "vendor": Path(vendor or os.environ.get("RUSHES_VENDOR", ".vendor")).resolve(),
        }
        return cls(**(fields | changes))

    @property
    def lake(self) -> Lake:
        return Lake(self.store)

    @property
    def warehouse_path(self) -> Path:
        """The DuckDB file; open it read-only. dbt builds beside it, and what was built takes its place."""
        return self.state / "warehouse.duckdb"

    @property
    def data_docs(self) -> Path:
        """Great Expectations' HTML reports."""
        return self.state / "data_docs"

    @property
    def text_encoder(self) -> Path:
        """Folder with the offline sentence encoder (MiniLM, 384-d, safetensors and tokenizer)."""
        return self.vendor / "minilm"

    @property
    def face_detector(self) -> Path:
        """YuNet's ONNX file; where it is absent, faces are unmeasurable."""
        return self.vendor / "yunet.onnx"

    @property
    def networks(self) -> Path:
        """Folder of the pretrained networks that measure videos (training/networks)."""
        return self.vendor / "networks"

    @property
    def signing(self) -> Path:
        """The platform's own keys (checkpoint key, C2PA certificate); private, mode 0700, never in the store."""
        folder = self.state / "keys"
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        return folder

    def scratch(self, name: str) -> Path:
        """A local working folder that survives restarts (checkpoints, caches)."""
        folder = self.state / "scratch" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder
