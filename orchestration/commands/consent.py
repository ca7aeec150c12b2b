"""`rushes consent`: people sign grants and revocations with their own keys, officers attest who holds which key.

A key stays with its owner: a file given by `--key`, made on first use. The ledger gets signed events only. What an officer
verified is signed by the platform; the evidence stays with the officer, and its digest goes into the ledger.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from assets.consent import notices
from assets.consent.admission import Key as RegisteredKey
from assets.consent.admission import Register, Rule, judge
from assets.consent.intake import Refused
from assets.consent.ledger import Ledger
from assets.consent.platform import appoint_guardian, offer_again, platform_key, platform_ledger
from assets.consent.platform import enrol as attest
from assets.store import write_atomically
from orchestration.commands.shared import facts, home, plain, say, short, stderr, stdout, table
from training.consent import events
from training.consent.canonical import file_sha256
from training.consent.events import IDENTITY_TYPES, PLATFORM
from training.consent.keys import load_or_create

app = typer.Typer(help="Grant, withdraw and verify consent.", no_args_is_help=True)

Key = Annotated[Path, typer.Option("--key", help="Your private Ed25519 key (PEM); made there on first use.")]
Officer = Annotated[str, typer.Option(help="Who verified it.")]
Evidence = Annotated[str, typer.Option(help="The proof that was seen: a file (it is not kept), or its SHA-256.")]


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
        bound = (e.key_id for e in ledger.events(parties={guardian or party}) if e.type == "register_key")
        if registration["key_id"] not in bound:
            append(ledger, registration, now)
        append(ledger, signed, now)
    say(f"[bold]{body['consent_id']}[/] granted by {plain(party)} for {', '.join(sorted(set(scope)))}")


@app.command()
def revoke(
    consent_id: str,
    key: Annotated[Path | None, typer.Option("--key", help="Your private Ed25519 key (PEM).")] = None,
    for_owner: Annotated[
        bool, typer.Option("--for-owner", help="Sign with the platform's key, for somebody who has lost theirs.")
    ] = False,
) -> None:
    """Withdraw a consent. No reason is needed; it acts at once and cannot be undone."""
    site, now = home(), datetime.now(UTC)
    ledger = platform_ledger(site)
    history = ledger.of_consent(consent_id)
    if not history:
        raise _unknown(consent_id)
    if (key is None) != for_owner:
        raise ValueError("withdraw with your own --key, or --for-owner if it is lost")
    granted = next((event.body for event in history if event.type == "grant"), history[0].body)
    private = load_or_create(key) if key else platform_key(site)
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
    """List the ledger's events."""
    ledger = platform_ledger(home())
    history = ledger.events() if consent_id is None else ledger.of_consent(consent_id)
    if not history and consent_id:
        raise _unknown(consent_id)
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
        for event in history
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
    """Erase the content of a consent for good. The ledger's roots and proofs stay valid; no use rests on it any more."""
    erased = platform_ledger(home()).erase(consent_id, reason, datetime.now(UTC))
    if not erased:
        raise _unknown(consent_id)
    say(f"[bold]{plain(consent_id)}[/]: {len(erased)} events erased")


@app.command()
def enrol(party: str, key_id: str, officer: Officer, evidence: Evidence) -> None:
    """Attest that a party holds a key; registrations that waited for it are accepted."""
    site = home()
    new = attest(site, party, key_id, officer=officer, evidence_sha256=digest_of(evidence))
    taken = offer_again(site, key_id)
    state = "enrolled" if new else "was enrolled already"
    say(f"{plain(party)}: {plain(key_id)} {state}; {taken} registrations taken")


@app.command()
def waiting() -> None:
    """List keys that no officer has verified yet."""
    rows = []
    for refusal in platform_ledger(home()).standing_refusals():
        if refusal["rule"] == "key_not_enrolled":
            envelope = json.loads(refusal["received"])
            rows.append((envelope["body"]["party_id"], envelope["key_id"], refusal["refused_at"]))
    stdout.print(table("Keys that wait for an officer", ("party", "key", "since"), sorted(rows)))


@app.command()
def keys(party: str) -> None:
    """List a party's keys: enrolled by an officer, endorsed by an earlier key, or revoked."""
    register = Register()
    for event in platform_ledger(home()).events(parties={party}):
        if event.type in IDENTITY_TYPES:
            register.record({"body": event.body, "key_id": event.key_id})
    enrolled = register.attested[party]
    owned = {key_id: key for key_id, key in register.keys.items() if key.actor == party}
    rows = []
    for key_id in sorted(enrolled | owned.keys()):
        key = register.keys.get(key_id)
        state = "not registered" if key is None else "revoked" if key.revoked else "valid"
        rows.append((key_id, "enrolled" if key_id in enrolled else "endorsed", state))
    stdout.print(table(f"Keys of {plain(party)}", ("key", "known by", "state"), rows))


@app.command()
def guardian(
    minor: str,
    guardian_id: Annotated[str, typer.Argument(metavar="GUARDIAN")],
    officer: Officer,
    evidence: Evidence,
    end: Annotated[bool, typer.Option("--end", help="The guardian no longer signs for the minor.")] = False,
) -> None:
    """Attest that a guardian signs for a minor. What a guardian granted stands until it is revoked."""
    proof = digest_of(evidence)
    new = appoint_guardian(home(), minor, guardian_id, officer=officer, evidence_sha256=proof, ended=end)
    signs = "no longer signs" if end else "signs"
    say(f"{plain(guardian_id)} {signs} for {plain(minor)}" + ("" if new else " (known)"))


@app.command()
def rotate_key(
    party: str,
    key: Annotated[Path, typer.Option("--key", help="The new private key (PEM); made there on first use.")],
    old_key: Annotated[Path, typer.Option("--old-key", help="A private key of the party that is registered.")],
) -> None:
    """Register a further key, endorsed by an earlier one. The earlier key stays valid until it is revoked."""
    now, new, old = datetime.now(UTC), load_or_create(key), load_or_create(old_key)
    registration = events.endorse(events.sign(events.register_key(party, new, now), new), old)
    append(platform_ledger(home()), registration, now)
    say(f"{plain(party)}: {registration['key_id']} registered")


@app.command()
def revoke_key(
    party: str,
    key_id: str,
    key: Annotated[Path | None, typer.Option("--key", help="Any private key of the party that is still valid.")] = None,
) -> None:
    """Revoke a key. Nothing that it signs from now on is accepted; what it signed stands. Without --key the platform signs."""
    site, now = home(), datetime.now(UTC)
    private = load_or_create(key) if key else platform_key(site)
    body = events.revoke_key(party, key_id, now, actor=None if key else PLATFORM)
    append(platform_ledger(site), events.sign(body, private), now)
    say(f"{plain(key_id)} of {plain(party)} is revoked")


def _unknown(consent_id: str) -> LookupError:
    return LookupError(f"the ledger knows no consent {consent_id!r}; `rushes consent show` lists them")


def check(*envelopes: dict[str, Any], now: datetime) -> None:
    """ValueError with the rule by which a ledger that knows these people would refuse them: for events in a file."""
    register = Register(keys={"the platform's": RegisteredKey(PLATFORM, b"")})
    for envelope in envelopes:
        body = envelope["body"]
        register.attested[body["actor"]].add(envelope["key_id"])
        register.guardians[body["party_id"]].add(body["actor"])
        if refusal := judge(register, envelope, now):
            raise ValueError(f"no ledger would take the event: {refusal.rule.value}: {refusal.detail}")
        register.record(envelope)


def append(ledger: Ledger, envelope: dict[str, Any], now: datetime) -> None:
    """Append, or ValueError with the rule that refused it and, where a person can help, what they have to do."""
    result = ledger.append(envelope, now)
    if isinstance(result, Refused):
        enrolment = (
            f"rushes consent enrol {envelope['body']['party_id']} {envelope['key_id']} --officer NAME --evidence FILE"
        )
        advice = f" (they do so with: {enrolment})" if result.rule is Rule.KEY_NOT_ENROLLED else ""
        raise ValueError(f"the ledger refused the event: {result.rule.value}: {result.detail}{advice}")


def digest_of(asset: str) -> str:
    """A SHA-256 digest as given, or that of a file."""
    path = Path(asset)
    if path.is_file():
        return file_sha256(path)
    if len(asset) == 64 and all(c in "0123456789abcdef" for c in asset):
        return asset
    raise ValueError(f"{short(asset, 80)!r} is neither a file nor a SHA-256 digest")
