"""Writing a signed provenance manifest (C2PA) into a video file, offline.

What belongs here: what a manifest says. What does not: reading it back (`c2pa_read`), keys (`certificates`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from assets.marks.c2pa_read import CLAIM_LABEL, TRAINED, read_provenance, settings_for
from assets.marks.certificates import make_certificate

MINING_USES = ("cawg.data_mining", "cawg.ai_inference", "cawg.ai_training", "cawg.ai_generative_training")


class ProvenanceError(RuntimeError):
    """A file could not be signed, or what came out does not read back as trusted."""


def sign_video(src: Path, dst: Path, claims: dict[str, Any], keys: Path) -> Path:
    """Write `src` to `dst` with a manifest: made by a trained model, not to be mined, and our own `claims`.

    `claims` names model_id, snapshot_root and ledger_checkpoint. Raises ProvenanceError; then `dst` is not there.
    """
    assertions = [
        {
            "label": "cawg.training-mining",
            "data": {"entries": {use: {"use": "notAllowed"} for use in MINING_USES}},
        },
        {"label": CLAIM_LABEL, "data": claims},
    ]
    return _sign(Path(src), Path(dst), str(claims.get("model_id", "Rushes")), "Rushes", assertions, keys)


def sign_as_ai_generator(src: Path, dst: Path, keys: Path, name: str = "Dreamfield Video") -> Path:
    """Write `src` to `dst` as another company's generator would mark its output. For the sample world and tests.

    `keys` is that company's folder, not ours: its root is none that we trust.
    """
    return _sign(Path(src), Path(dst), name, name, [], keys)


def _sign(src: Path, dst: Path, model: str, generator: str, assertions: list[dict[str, Any]], keys: Path) -> Path:
    import c2pa

    if src.resolve() == dst.resolve():
        raise ProvenanceError(f"{src} cannot be signed onto itself: the library would empty it")
    if (before := read_provenance(src)).state != "absent":
        raise ProvenanceError(
            f"{src} already carries a manifest ({before.state}); signing it anew would drop its history"
        )
    identity = make_certificate(keys, generator)
    created = {
        "action": "c2pa.created",
        "digitalSourceType": TRAINED,
        "softwareAgent": {"name": model},
    }
    manifest = {
        "claim_generator_info": [{"name": generator, "version": "1"}],
        "title": dst.name,
        "format": "video/mp4",
        "assertions": [{"label": "c2pa.actions", "data": {"actions": [created]}}, *assertions],
    }
    settings = settings_for(identity.root)
    settings["builder"] = {
        "thumbnail": {"enabled": False},
        "created_assertion_labels": ["c2pa.actions", *(a["label"] for a in assertions)],
    }
    info = c2pa.C2paSignerInfo(b"es256", identity.chain.read_bytes(), identity.key.read_bytes(), None)
    dst.parent.mkdir(parents=True, exist_ok=True)
    draft = dst.with_name(f".signing-{dst.name}")
    try:
        with (
            c2pa.Context.from_dict(settings) as context,
            c2pa.Signer.from_info(info) as signer,
            c2pa.Builder(json.dumps(manifest), context) as builder,
        ):
            builder.sign_file(str(src), str(draft), signer)
        draft.replace(dst)
    except c2pa.C2paError as error:
        raise ProvenanceError(f"{src} could not be signed: {error}") from error
    finally:
        draft.unlink(missing_ok=True)
    return dst
