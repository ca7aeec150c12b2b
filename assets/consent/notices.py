"""The privacy notice that people see before they sign, with everything that a consent record has to contain.

An event carries a notice's SHA-256 (of its canonical form), so the notice itself is kept here under that name for as long
as there are events. Belongs here: the built-in notices, the one that a home shows now, and finding an old one again.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from assets.home import Home
from training.consent.canonical import canonical, parse_strictly, sha256_hex
from training.consent.events import SCOPES

SCHEMA = "rushes.notice/1"
CURRENT = "notices/current.json"  # what an operator put there; without it the last built-in notice is shown


class NoticeError(ValueError):
    """An incomplete notice; the message names what is missing or wrong."""


def _each_scope(purposes: dict[str, str]) -> dict[str, str]:
    if odd := sorted(set(purposes) ^ set(SCOPES)):
        raise ValueError(f"lacks or adds {', '.join(f'purposes.{scope}' for scope in odd)}")
    return purposes


Text = Annotated[str, StringConstraints(strict=True, pattern=r"\S")]
Texts = Annotated[tuple[Text, ...], Field(min_length=1)]


class Controller(BaseModel):
    """Who decides what happens to the data, and how to reach them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    party_id: Text
    name: Text
    address: Text
    contact: Text
    type: Text


class Notice(BaseModel):
    """What people read (`text`) and the facts behind it; `purposes` explains each scope in plain words."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Text
    language: Text
    text: Text
    controller: Controller
    purposes: Annotated[dict[str, Text], AfterValidator(_each_scope)]
    pii_types: Texts
    lawful_basis: Text
    collection_method: Text
    processing_method: Text
    storage_locations: Texts
    retention_period: Text
    jurisdiction: Text
    withdrawal_method: Text
    privacy_rights: Texts

    def document(self) -> dict[str, Any]:
        """As JSON, which is what is hashed, kept and handed out."""
        return {"schema": SCHEMA, **self.model_dump(mode="json")}

    @property
    def sha256(self) -> str:
        """The notice's name in events."""
        return sha256_hex(self.document())

    @classmethod
    def from_document(cls, document: Any) -> Notice:
        """Raises NoticeError naming every field that is missing, unknown, empty or of the wrong form."""
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise NoticeError(f"not a {SCHEMA} document")
        try:
            return cls.model_validate({name: value for name, value in document.items() if name != "schema"})
        except ValidationError as error:
            problems = [f"{'.'.join(map(str, e['loc']))} ({e['msg']})" for e in error.errors()]
            raise NoticeError(f"the notice cannot be shown: {'; '.join(sorted(problems))}") from error


FIRST = Notice(
    version="1",
    language="en",
    text=(
        "Rushes trains video models on footage. You may withdraw at any time with `rushes consent revoke`; no reason is "
        "asked for. Your footage then leaves every new training set, what was derived from it is deleted or sealed, and models "
        "trained on it are taken out of service and trained again without it. What was paid to you stays yours."
    ),
    controller=Controller(
        party_id="platform",
        name="the operator of this installation",
        address="told by the operator before you sign",
        contact="the officer who verified your key",
        type="PII controller",
    ),
    purposes={
        "review": "people look at the footage to decide whether it can be used",
        "train": "a video model learns from the footage",
        "train_minor": "a video model learns from footage that shows a minor",
        "eval": "the quality of a video model is measured against the footage",
        "finetune_client": "a client's own video model learns from the footage",
        "synthetic_derivation": "synthetic footage is derived from it, and models may learn from that",
        "likeness_generation": "videos are generated that show the person's likeness",
        "publish_sample": "parts of the footage are shown in public as examples",
        "redistribute": "the footage itself is handed on to others",
    },
    pii_types=("pictures of persons and places", "pseudonym", "public signing key", "times of signed events"),
    lawful_basis="consent (GDPR Article 6(1)(a))",
    collection_method="delivered by the contributor, with consent signed by each person's own key",
    processing_method="cut, measured, captioned, encoded, trained on and evaluated by machine; reviewed by people",
    storage_locations=("the operator's own servers and object storage",),
    retention_period="until withdrawn or expired; commitments in the ledger hold nothing personal and stay",
    jurisdiction="the operator's place of establishment",
    withdrawal_method="rushes consent revoke",
    privacy_rights=(
        "withdraw at any time, as easily as consent was given",
        "receive a receipt with proofs",
        "have the signed events erased from the ledger",
        "access, rectification, erasure, restriction, portability and complaint to a supervisory authority",
    ),
)
BUILT_IN = (FIRST,)  # the last is shown; a notice that was ever shown stays here


def current(home: Home) -> Notice:
    """The notice that this home shows to who signs now. Raises NoticeError for a kept one that cannot be used."""
    if not home.store.exists(CURRENT):
        return BUILT_IN[-1]
    return Notice.from_document(parse_strictly(home.store.get(CURRENT).decode("utf-8")))


def show_from_now(home: Home, document: Any) -> Notice:
    """Make this the home's notice and keep it for good under its digest. Raises NoticeError."""
    notice = Notice.from_document(document)
    for key in (_key(notice.sha256), CURRENT):
        home.store.put(key, canonical(notice.document()))
    return notice


def find(home: Home, sha256: str) -> dict[str, Any] | None:
    """The notice with this digest as it was hashed, None where this home never had it."""
    for notice in BUILT_IN:
        if notice.sha256 == sha256:
            return notice.document()
    if not home.store.exists(_key(sha256)):
        return None
    kept = parse_strictly(home.store.get(_key(sha256)).decode("utf-8"))
    if sha256_hex(kept) != sha256:
        raise NoticeError(f"the notice kept under {sha256} is another one")
    return kept


def _key(sha256: str) -> str:
    return f"notices/{sha256}.json"
