"""`rushes consent`: sign grants and revocations with one's own key, look at the ledger, verify it.

The key stays with its owner: a file given by `--key`, made on first use. The ledger gets signed events only.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from assets.store import write_atomically
from orchestration.commands.shared import facts, home, plain, short, stdout, table

app = typer.Typer(help="Grant, withdraw and verify consent.", no_args_is_help=True)

Key = Annotated[Path, typer.Option("--key", help="Your private Ed25519 key (PEM); made there on first use.")]
NOTICE = (
    "Rushes trains video models on footage. You may withdraw at any time with `rushes consent revoke`; "
    "models trained on your footage are then withdrawn from service and trained again without it."
)


@app.command()
def grant(
    party: Annotated[str, typer.Argument(help="Who consents, for instance c-amina or p-luc.")],
    assets: Annotated[list[str], typer.Argument(help="Files, or SHA-256 digests of files or clips.")],
    key: Key,
    scope: Annotated[list[str], typer.Option(help="Purposes: train, eval, review, publish_sample, ...")] = ["train"],  # noqa: B006
    role: Annotated[str, typer.Option(help="contributor, depicted, guardian or property_owner")] = "contributor",
    territory: Annotated[list[str], typer.Option(help="ISO 3166 codes, or *")] = ["*"],  # noqa: B006
    days: Annotated[
        int | None, typer.Option(min=1, max=36_500, help="Days until the consent ends; none for no end.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the signed events here, for a delivery's consent folder."),
    ] = None,
) -> None:
    """Consent to the use of footage; prints the consent's identity, which a withdrawal names."""
    from training.consent import events
    from training.consent.keys import load_or_create

    now, private = datetime.now(UTC), load_or_create(key)
    registration = events.sign(events.register_key(party, private, now), private)
    body = events.grant(
        party,
        role,
        [digest_of(asset) for asset in assets],
        scope,
        now,
        notice_sha256=hashlib.sha256(NOTICE.encode()).hexdigest(),
        terms_sha256=hashlib.sha256(NOTICE.encode()).hexdigest(),
        territories=territory,
        expires_at=now + timedelta(days=days) if days else None,
    )
    signed = events.sign(body, private)
    if output:
        check(registration, signed, now=now)
        write_atomically(output, json.dumps([registration, signed], indent=1).encode())
    else:
        database_url = home().database_url
        if not key_known(database_url, registration["key_id"]):
            append(database_url, registration, now)
        append(database_url, signed, now)
    granted = ", ".join(sorted(set(scope)))
    stdout.print(f"[bold]{body['consent_id']}[/] granted by {plain(party)} for {granted}", highlight=False)


@app.command()
def revoke(consent_id: str, key: Key) -> None:
    """Withdraw a consent. No reason is asked for; it acts at once and cannot be undone."""
    from training.consent import events
    from training.consent.keys import load_or_create
    from training.consent.ledger import Ledger

    here, now, private = home(), datetime.now(UTC), load_or_create(key)
    known = [e for e in Ledger(here.database_url).events() if e.body.get("consent_id") == consent_id]
    if not known:
        raise LookupError(f"the ledger knows no consent {consent_id!r}; `rushes consent show` lists them")
    first = known[0].body
    body = events.revoke(consent_id, first["party_id"], first["role"], now, actor=first["actor"])
    append(here.database_url, events.sign(body, private), now)
    stdout.print(
        f"[bold]{plain(consent_id)}[/] revoked. Clips that rest on it leave every new snapshot; models follow."
    )


@app.command()
def show(
    consent_id: Annotated[str | None, typer.Argument(help="One consent; all without it.")] = None,
) -> None:
    """The ledger's events."""
    from training.consent.ledger import Ledger

    ledger = Ledger(home().database_url)
    found = [e for e in ledger.events() if consent_id in (None, e.body.get("consent_id"))]
    if not found and consent_id:
        raise LookupError(f"the ledger knows no consent {consent_id!r}")
    rows = [
        (
            event.seq,
            event.type,
            event.body.get("consent_id", ""),
            event.body["party_id"],
            " ".join(event.body.get("scopes", [])),
            event.recorded_at.isoformat(timespec="seconds"),
            event.body.get("expires_at"),
        )
        for event in found
    ]
    stdout.print(table("Consent events", ("seq", "type", "consent", "party", "scopes", "recorded", "expires"), rows))


@app.command()
def verify() -> None:
    """Recompute the ledger from its first event: signatures, commitments and Merkle root."""
    from training.consent.ledger import Ledger

    ledger = Ledger(home().database_url)
    ledger.verify()
    head = ledger.head()
    stdout.print(facts({"events": head.size, "root": head.root, "result": "every signature and commitment holds"}))


def key_known(database_url: str, key_id: str) -> bool:
    """Whether the ledger has bound this key to its owner already."""
    from training.consent.ledger import Ledger

    return any(event.type == "register_key" and event.key_id == key_id for event in Ledger(database_url).events())


def check(*envelopes: dict[str, Any], now: datetime) -> None:
    """ValueError with the rule that an empty ledger would name: what is handed over as a file must be admissible."""
    from training.consent.admission import Register

    register = Register()
    for envelope in envelopes:
        if refusal := register.judge(envelope, now, lambda *_: False):
            raise ValueError(f"no ledger would take the event: {refusal.rule.value}: {refusal.detail}")
        register.record(envelope)


def append(database_url: str, envelope: dict[str, Any], now: datetime) -> None:
    """Append, or ValueError with the rule that the ledger names."""
    from training.consent.ledger import Ledger, Refused

    result = Ledger(database_url).append(envelope, now)
    if isinstance(result, Refused):
        raise ValueError(f"the ledger refused the event: {result.rule.value}: {result.detail}")


def digest_of(asset: str) -> str:
    """A digest as given, or that of a file."""
    path = Path(asset)
    if path.is_file():
        digest = hashlib.sha256()
        with path.open("rb") as source:
            while block := source.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()
    if len(asset) == 64 and all(c in "0123456789abcdef" for c in asset):
        return asset
    raise ValueError(f"{short(asset, 80)!r} is neither a file nor a SHA-256 digest")
