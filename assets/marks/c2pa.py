"""Signed provenance (C2PA) of a video file: what the file says of its own origin, read and written offline.

What a verdict on a delivered file means is decided in curation; that a generated file carries both a manifest and a
watermark is `marking`'s rule.

References: C2PA specification 2.4; CAWG training and data mining assertion 1.1; IPTC digital source types.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from assets.marks.certificates import make_certificate
from assets.reasons import printable
from assets.store import whole

State = Literal["absent", "valid", "trusted", "invalid", "unreadable"]

CLAIM_LABEL = "org.rushes.provenance"
SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
TRAINED = SOURCE_TYPES + "trainedAlgorithmicMedia"
# by the last part of the URI, because the same type is written with http and https; compositeSynthetic is the older
# name of a composite with generated parts
GENERATED = frozenset(
    {"trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia", "algorithmicMedia", "compositeSynthetic"}
)
CAPTURED = frozenset({"digitalCapture", "computationalCapture", "negativeFilm", "positiveFilm", "print"})
PLAIN_TEXT_BYTES = 1 << 20  # of either end of a file
MINING_USES = ("cawg.data_mining", "cawg.ai_inference", "cawg.ai_training", "cawg.ai_generative_training")
# extended key usages that a signer may have: email protection, C2PA claim signing, time stamping
TRUSTED_USAGES = "1.3.6.1.5.5.7.3.4\n1.3.6.1.4.1.62558.2.1\n1.3.6.1.5.5.7.3.8\n"


@dataclass(frozen=True)
class Provenance:
    """What a file says of its own origin.

    `state`: absent (no manifest), valid (unbroken, signer unknown), trusted (unbroken, signer under our root),
    invalid (broken, or an ingredient is), unreadable (the file or its manifest cannot be parsed).
    """

    state: State
    source_type: str | None = None  # IPTC digital source type of the newest manifest
    claims: dict[str, Any] = field(default_factory=dict)  # our own assertion
    ingredients: tuple[dict[str, Any], ...] = ()  # {title, relationship, failures}
    declared: tuple[str, ...] = ()  # source types of every manifest in the file, those of ingredients included
    generator: str | None = None  # who says so, as the manifest names itself
    detail: str | None = None  # why it is invalid or unreadable

    @property
    def says_generated(self) -> bool:
        """Whether the file or anything that it was made of declares an algorithm as its author.

        True whatever the state: a broken declaration of synthetic origin is still no evidence of a camera.
        """
        return any(type_name(kind) in GENERATED for kind in self.declared)

    @property
    def decisive_type(self) -> str | None:
        """The source type that judges the file: an algorithm anywhere in its history before what its last editor says."""
        return next((kind for kind in self.declared if type_name(kind) in GENERATED), self.source_type)

    @property
    def summary(self) -> str | None:
        """For people: who says it, what is broken, and its ingredients; None if the file says nothing."""
        parts = [f"said by {self.generator}"] if self.generator else []
        parts += [self.detail] if self.detail else []
        parts += [
            f"ingredient {part['title']!r}" + (f" broken ({', '.join(part['failures'])})" if part["failures"] else "")
            for part in self.ingredients
        ]
        return printable("; ".join(parts)) or None


def type_name(source_type: str) -> str:
    """`http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture` as `digitalCapture`."""
    return source_type.rstrip("/").rsplit("/", 1)[-1]


def settings_for(root: Path | None) -> dict[str, Any]:
    """Settings for offline use: nothing is fetched, no revocation service is asked. `root` holds trusted roots as PEM."""
    settings: dict[str, Any] = {
        "version": 1,
        "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_after_sign": True},
        "core": {"allowed_network_hosts": []},
    }
    if root is not None:
        settings["trust"] = {"user_anchors": root.read_text(), "trust_config": TRUSTED_USAGES}
    return settings


def read_provenance(path: Path, trust: Path | None = None, anchors: Path | None = None) -> Provenance:
    """The provenance of `path`. `trust` is a folder that `make_certificate` filled, `anchors` a PEM file of roots;
    without either nobody is trusted.

    A source type in plain text, without a manifest or beside one that cannot be parsed, counts as `declared` too. Never
    raises because of the file's content. The container is read from its first bytes, not from the file's extension.
    """
    import c2pa

    path = Path(path)
    if (container := _container(path)) is None:
        return Provenance("absent", declared=_unsigned_types(path), detail="no container that can carry a manifest")
    root = Path(trust) / "c2pa" / "root.pem" if trust else anchors
    settings = settings_for(root if root and root.is_file() else None)
    try:
        with (
            path.open("rb") as stream,
            c2pa.Context.from_dict(settings) as context,
            c2pa.Reader(container, stream, context=context) as reader,
        ):
            return _provenance(json.loads(reader.json()), reader.get_validation_state())
    except c2pa.C2paError.ManifestNotFound:
        return Provenance("absent", declared=_unsigned_types(path))
    except (c2pa.C2paError, ValueError, AttributeError, TypeError) as error:  # the last two: JSON of another shape
        return Provenance("unreadable", declared=_unsigned_types(path), detail=f"{type(error).__name__}: {error}")


def _unsigned_types(path: Path) -> tuple[str, ...]:
    """Generated source types in plain text near the file's beginning or end, as in XMP metadata.

    Unsigned, so no evidence of a camera; but nobody declares a file generated by mistake.
    """
    with path.open("rb") as file:
        data = file.read(PLAIN_TEXT_BYTES)
        file.seek(max(len(data), path.stat().st_size - PLAIN_TEXT_BYTES))
        data += file.read(PLAIN_TEXT_BYTES)
    names = set(re.findall(rb"https?://cv\.iptc\.org/newscodes/digitalsourcetype/([A-Za-z]{1,60})", data))
    return tuple(sorted(SOURCE_TYPES + name.decode() for name in names if name.decode() in GENERATED))


def _container(path: Path) -> str | None:
    """MIME type by magic numbers; None for containers without C2PA embedding (Matroska, MPEG-PS) and for other files."""
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] in {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"}:
        return "video/quicktime" if head[8:12] == b"qt  " else "video/mp4"
    return "video/avi" if head[:4] == b"RIFF" and head[8:12] == b"AVI " else None


def _provenance(report: dict[str, Any], verdict: str | None) -> Provenance:
    manifests = report.get("manifests", {})
    active = manifests.get(report.get("active_manifest"), {})
    ingredients = tuple(_ingredient(entry) for entry in active.get("ingredients", []))
    failures = [
        entry.get("code", "?") for entry in _failures(report.get("validation_results", {}).get("activeManifest"))
    ]
    # a tampered ingredient leaves the outer manifest unbroken: look inside
    broken = [code for part in ingredients for code in part["failures"]]
    states: dict[str | None, State] = {"Trusted": "trusted", "Valid": "valid"}
    state: State = "invalid" if broken else states.get(verdict, "invalid")
    kinds = _source_types(active)
    return Provenance(
        state,
        source_type=next((kind for kind in kinds if type_name(kind) in GENERATED), kinds[0] if kinds else None),
        claims=_created_claims(active),
        ingredients=ingredients,
        declared=tuple(sorted({kind for manifest in manifests.values() for kind in _source_types(manifest)})),
        generator=next((info.get("name") for info in active.get("claim_generator_info") or []), None),
        detail=", ".join(failures + broken) or None,
    )


def _source_types(manifest: dict[str, Any]) -> list[str]:
    """Every digital source type in a manifest's assertions and ingredients, at any depth: actions name it, and so do IPTC
    metadata and the older creative-work assertion."""
    types, waiting = [], [part for name in ("assertions", "ingredients") for part in manifest.get(name, [])]
    while waiting:
        part = waiting.pop(0)
        if isinstance(part, dict):
            named = {key: value for key, value in part.items() if key.lower().endswith("digitalsourcetype")}
            types += [value for value in named.values() if isinstance(value, str)]
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
    return types


def _created_claims(manifest: dict[str, Any]) -> dict[str, Any]:
    """Our assertion, if the signer itself made it: one that it merely gathered proves nothing."""
    for assertion in manifest.get("assertions", []):
        if assertion.get("label") == CLAIM_LABEL and assertion.get("created"):
            return dict(assertion.get("data", {}))
    return {}


def _ingredient(entry: dict[str, Any]) -> dict[str, Any]:
    results = entry.get("validation_results", {}).get("activeManifest")
    return {
        "title": entry.get("title"),
        "relationship": entry.get("relationship"),
        "failures": [failure.get("code", "?") for failure in _failures(results)],
    }


def _failures(results: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Failures other than an unknown signer, which is a matter of trust, not of integrity."""
    failures = (results or {}).get("failure", [])
    return [entry for entry in failures if entry.get("code") != "signingCredential.untrusted"]


class ProvenanceError(RuntimeError):
    """A file could not be signed, or what came out does not read back as trusted."""


def sign_video(src: Path, dst: Path, claims: dict[str, Any], keys: Path) -> Path:
    """Write `src` to `dst` with a manifest: made by a trained model, not to be mined, and our own `claims`.

    `claims` names model_id, snapshot_root and ledger_checkpoint. Raises ProvenanceError, and then there is no `dst`.
    """
    mining = {"entries": {use: {"use": "notAllowed"} for use in MINING_USES}}
    assertions = [{"label": "cawg.training-mining", "data": mining}, {"label": CLAIM_LABEL, "data": claims}]
    return _sign(Path(src), Path(dst), str(claims.get("model_id", "Rushes")), "Rushes", assertions, keys)


def sign_as_ai_generator(src: Path, dst: Path, keys: Path, name: str = "Dreamfield Video") -> Path:
    """Write `src` to `dst` as another company's generator would mark its output. For the sample world and tests.

    `keys` is that company's folder, not ours: we do not trust its root.
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
    created = {"action": "c2pa.created", "digitalSourceType": TRAINED, "softwareAgent": {"name": model}}
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
    try:
        with (
            whole(dst) as draft,
            c2pa.Context.from_dict(settings) as context,
            c2pa.Signer.from_info(info) as signer,
            c2pa.Builder(json.dumps(manifest), context) as builder,
        ):
            builder.sign_file(str(src), str(draft), signer)
    except c2pa.C2paError as error:
        raise ProvenanceError(f"{src} could not be signed: {error}") from error
    return dst
