"""`rushes consent`: sign grants and revocations with one's own key, look at the ledger, verify it.

The key stays with its owner: a file given by `--key`, made on first use. The ledger gets signed events only. Whose key is
whose is the business of `identity`.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assets.consent.platform import platform_key, platform_ledger
from assets.store import write_atomically
from orchestration.commands.shared import facts, home, plain, short, stderr, stdout, table

if TYPE_CHECKING:
    from assets.consent.ledger import Ledger

app = typer.Typer(help="Grant, withdraw and verify consent.", no_args_is_help=True)

Key = Annotated[Path, typer.Option("--key", help="Your private Ed25519 key (PEM); made there on first use.")]


@app.command()
def grant(
    party: Annotated[str, typer.Argument(help="Who consents, for instance c-amina or p-luc.")],
    assets: Annotated[list[str], typer.Argument(help="Files, or SHA-256 digests of files or clips.")],
    key: Key,
    scope: Annotated[list[str], typer.Option(help="Purposes: train, eval, review, publish_sample, ...")] = ["train"],  # noqa: B006
    role: Annotated[str, typer.Option(help="contributor, depicted, guardian or property_owner")] = "contributor",
    territory: Annotated[list[str], typer.Option(help="ISO 3166 codes, or *")] = ["*"],  # noqa: B006
    recipient: Annotated[list[str], typer.Option(help="Who may use it: organisations, or *")] = ["*"],  # noqa: B006
    guardian: Annotated[
        str | None, typer.Option(help="Who signs for a minor, with their own key; makes the role guardian.")
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=36_500, help="Days until the consent ends; none for no end.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write the signed events here, for a delivery's consent folder."),
    ] = None,
) -> None:
    """Consent to the use of footage; prints the consent's identity, which a withdrawal names."""
    from assets.consent import notices
    from training.consent import events
    from training.consent.keys import load_or_create

    now, private, notice = datetime.now(UTC), load_or_create(key), notices.current(home())
    stderr.print(plain(notice.text, 20_000), style="dim", highlight=False)  # before anything is signed
    registration = events.sign(events.register_key(guardian or party, private, now), private)
    body = events.grant(
        party,
        "guardian" if guardian else role,
        [digest_of(asset) for asset in assets],
        scope,
        now,
        notice_sha256=notice.sha256,
        terms_sha256=notice.sha256,
        notice_lang=notice.language,
        withdrawal_method=notice.withdrawal_method,
        actor=guardian,
        territories=territory,
        recipients=recipient,
        expires_at=now + timedelta(days=days) if days else None,
    )
    signed = events.sign(body, private)
    if output:
        check(registration, signed, now=now)
        write_atomically(output, json.dumps([registration, signed], indent=1).encode())
    else:
        ledger = platform_ledger(home())
        if not key_known(ledger, party=guardian or party, key_id=registration["key_id"]):
            append(ledger, registration, now)
        append(ledger, signed, now)
    granted = ", ".join(sorted(set(scope)))
    stdout.print(f"[bold]{body['consent_id']}[/] granted by {plain(party)} for {granted}", highlight=False)


@app.command()
def revoke(
    consent_id: str,
    key: Annotated[Path | None, typer.Option("--key", help="Your private Ed25519 key (PEM).")] = None,
    for_owner: Annotated[
        bool, typer.Option("--for-owner", help="Sign with the platform's key, for somebody who has lost theirs.")
    ] = False,
) -> None:
    """Withdraw a consent. No reason is asked for; it acts at once and cannot be undone."""
    from training.consent import events
    from training.consent.events import PLATFORM
    from training.consent.keys import load_or_create

    here, now = home(), datetime.now(UTC)
    ledger = platform_ledger(here)
    known = ledger.of_consent(consent_id)
    if not known:
        raise LookupError(f"the ledger knows no consent {consent_id!r}; `rushes consent show` lists them")
    if (key is None) != for_owner:
        raise ValueError("withdraw with your own --key, or --for-owner if it is lost")
    granted = next((event.body for event in known if event.type == "grant"), known[0].body)
    private = load_or_create(key) if key else platform_key(here)
    actor = granted["actor"] if key else PLATFORM
    body = events.revoke(consent_id, granted["party_id"], granted["role"], now, actor=actor)
    append(ledger, events.sign(body, private), now)
    stdout.print(
        f"[bold]{plain(consent_id)}[/] revoked. Clips that rest on it leave every new snapshot; models follow."
    )


@app.command()
def show(
    consent_id: Annotated[str | None, typer.Argument(help="One consent; all without it.")] = None,
) -> None:
    """The ledger's events."""
    ledger = platform_ledger(home())
    found = ledger.events() if consent_id is None else ledger.of_consent(consent_id)
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
    ledger = platform_ledger(home())
    ledger.verify()
    head = ledger.head()
    stdout.print(facts({"events": head.size, "root": head.root, "result": "every signature and commitment holds"}))


@app.command()
def erase(
    consent_id: str,
    reason: Annotated[str, typer.Option(help="Why, for the record; no name or other personal data.")] = "asked for",
) -> None:
    """Erase what a consent said, for ever; the ledger's roots and proofs stay valid, and nothing rests on it any more."""
    erased = platform_ledger(home()).erase(consent_id, reason, datetime.now(UTC))
    if not erased:
        raise LookupError(f"the ledger knows no consent {consent_id!r}; `rushes consent show` lists them")
    stdout.print(f"[bold]{plain(consent_id)}[/]: {len(erased)} events erased", highlight=False)


def key_known(ledger: Ledger, *, party: str, key_id: str) -> bool:
    """Whether the ledger has bound this key to its owner already."""
    return any(e.type == "register_key" and e.key_id == key_id for e in ledger.events(parties={party}))


def check(*envelopes: dict[str, Any], now: datetime) -> None:
    """ValueError with the rule that a ledger would name that knows these people: for what is handed over as a file."""
    from assets.consent.admission import Key, Register, judge
    from training.consent.events import PLATFORM

    register = Register(keys={"the platform's": Key(PLATFORM, b"")})
    for envelope in envelopes:
        body = envelope["body"]
        register.attested[body["actor"]].add(envelope["key_id"])
        register.guardians[body["party_id"]].add(body["actor"])
        if refusal := judge(register, envelope, now):
            raise ValueError(f"no ledger would take the event: {refusal.rule.value}: {refusal.detail}")
        register.record(envelope)


def append(ledger: Ledger, envelope: dict[str, Any], now: datetime) -> None:
    """Append, or ValueError with the rule that the ledger names and, where a person can help, what they have to do."""
    from assets.consent.admission import Rule
    from assets.consent.intake import Refused

    result = ledger.append(envelope, now)
    if isinstance(result, Refused):
        advice = f" ({enrolment_advice(envelope)})" if result.rule is Rule.KEY_NOT_ENROLLED else ""
        raise ValueError(f"the ledger refused the event: {result.rule.value}: {result.detail}{advice}")


def enrolment_advice(registration: dict[str, Any]) -> str:
    party, key_id = registration["body"]["party_id"], registration["key_id"]
    return f"they do so with: rushes consent enrol {party} {key_id} --officer NAME --evidence FILE"


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
