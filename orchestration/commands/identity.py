"""`rushes consent`, the officers' side: who holds which key, who signs for a minor, and what happens to lost keys.

The platform signs what an officer verified outside; the evidence itself stays with the officer, its digest goes into the
ledger.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from assets.consent.platform import appoint_guardian, offer_again, platform_key, platform_ledger
from assets.consent.platform import enrol as attest
from orchestration.commands.consent import append, digest_of
from orchestration.commands.shared import home, plain, stdout, table
from training.consent.events import IDENTITY_TYPES

Officer = Annotated[str, typer.Option(help="Who verified it.")]
Evidence = Annotated[str, typer.Option(help="The proof that was seen: a file (it is not kept), or its SHA-256.")]


def register(app: typer.Typer) -> None:
    """Add these commands to `rushes consent`."""
    for command in (enrol, waiting, keys, guardian, rotate_key, revoke_key):
        app.command()(command)


def enrol(party: str, key_id: str, officer: Officer, evidence: Evidence) -> None:
    """Attest that a party holds a key; registrations that waited for it are taken."""
    here = home()
    new = attest(here, party, key_id, officer=officer, evidence_sha256=digest_of(evidence))
    taken = offer_again(here, key_id)
    said = "enrolled" if new else "was enrolled already"
    stdout.print(f"{plain(party)}: {plain(key_id)} {said}; {taken} registrations taken", highlight=False)


def waiting() -> None:
    """Keys that somebody sent and no officer has verified yet."""
    import json

    rows = []
    for refusal in platform_ledger(home()).standing_refusals():
        if refusal["rule"] == "key_not_enrolled":
            envelope = json.loads(refusal["received"])
            rows.append((envelope["body"]["party_id"], envelope["key_id"], refusal["refused_at"]))
    stdout.print(table("Keys that wait for an officer", ("party", "key", "since"), sorted(rows)))


def keys(party: str) -> None:
    """A party's keys: which an officer enrolled, which an earlier key endorsed, which are revoked."""
    from assets.consent.admission import Register

    register, events = Register(), platform_ledger(home()).events(parties={party})
    for event in events:
        if event.type in IDENTITY_TYPES:
            register.record({"body": event.body, "key_id": event.key_id})
    known = register.attested[party] | {key_id for key_id, key in register.keys.items() if key.actor == party}
    rows = [
        (
            key_id,
            "enrolled" if key_id in register.attested[party] else "endorsed",
            "not registered"
            if key_id not in register.keys
            else "revoked"
            if register.keys[key_id].revoked
            else "valid",
        )
        for key_id in sorted(known)
    ]
    stdout.print(table(f"Keys of {plain(party)}", ("key", "known by", "state"), rows))


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
    said = "no longer signs" if end else "signs"
    stdout.print(f"{plain(guardian_id)} {said} for {plain(minor)}" + ("" if new else " (known)"), highlight=False)


def rotate_key(
    party: str,
    key: Annotated[Path, typer.Option("--key", help="The new private key (PEM); made there on first use.")],
    old_key: Annotated[Path, typer.Option("--old-key", help="A private key of the party that is registered.")],
) -> None:
    """Register a further key on the word of an earlier one; the earlier one stays valid until it is revoked."""
    from training.consent import events
    from training.consent.keys import load_or_create

    now, new, old = datetime.now(UTC), load_or_create(key), load_or_create(old_key)
    registration = events.endorse(events.sign(events.register_key(party, new, now), new), old)
    append(platform_ledger(home()), registration, now)
    stdout.print(f"{plain(party)}: {registration['key_id']} registered", highlight=False)


def revoke_key(
    party: str,
    key_id: str,
    key: Annotated[Path | None, typer.Option("--key", help="Any private key of the party that is still valid.")] = None,
) -> None:
    """End a key: nothing that it signs from now on is taken; what it signed stands. Without --key the platform signs."""
    from training.consent import events
    from training.consent.events import PLATFORM
    from training.consent.keys import load_or_create

    here, now = home(), datetime.now(UTC)
    private = load_or_create(key) if key else platform_key(here)
    body = events.revoke_key(party, key_id, now, actor=None if key else PLATFORM)
    append(platform_ledger(here), events.sign(body, private), now)
    stdout.print(f"{plain(key_id)} of {plain(party)} is revoked", highlight=False)
