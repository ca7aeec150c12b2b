"""`rushes prove` and `rushes verify`, `rushes consent receipt|key|checkpoint|notice`: what a stranger can check.

Proofs are made from this home. Checking one needs its file and the platform's public key, and opens no home.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from assets.store import write_atomically
from orchestration.commands.shared import facts, home, plain, short, stdout

Output = Annotated[Path | None, typer.Option("--output", "-o", help="Write the file here instead of to the terminal.")]


def register(app: typer.Typer) -> None:
    app.command()(prove)
    app.command()(verify)


def add_to(consent: typer.Typer) -> None:
    """Add what a person asks of their own consent to `rushes consent`."""
    for command in (receipt, key, checkpoint, notice):
        consent.command()(command)


def prove(
    model: Annotated[str, typer.Option(help="A registered version, by number or alias.")],
    excluded: Annotated[str | None, typer.Option(help="Prove that the model never saw this clip (id or file).")] = None,
    included: Annotated[str | None, typer.Option(help="Prove that the model saw this clip, and show no other.")] = None,
    output: Output = None,
) -> None:
    """Prove whether a registered version ever saw a clip; `rushes verify` checks the file anywhere."""
    from assets.consent.proofs.models import EXCLUSION
    from assets.withdrawals.exclusion_proofs import answer, clips_named

    asked = excluded or included
    if asked is None or (excluded and included):
        raise ValueError("say which: --excluded CLIP or --included CLIP")
    here = home()
    clips = clips_named(here, asked)
    answers = {clip_id: answer(here, clip_id, model) for clip_id in clips}
    for clip_id, statement in answers.items():
        absent = statement["schema"] == EXCLUSION
        if absent != bool(excluded):
            raise LookupError(_otherwise(clip_id, model, statement, absent))
    for clip_id, statement in answers.items():
        _hand_out(statement, _one_of(output, clip_id) if len(answers) > 1 else output)


def _otherwise(clip_id: str, model: str, statement: Mapping[str, Any], absent: bool) -> str:
    if absent:
        return f"clip {clip_id} is in no snapshot that version {model} saw; `rushes prove --excluded` proves that"
    roots = ", ".join(short(one["snapshot_root"], 16) for one in statement["sets"])
    return (
        f"version {model} saw clip {clip_id}: it is in snapshot {roots}. `rushes trace {short(clip_id, 16)}` shows where it "
        "went; `rushes consent revoke` withdraws it, and `rushes prove --included` proves that it was seen"
    )


def _one_of(output: Path | None, clip_id: str) -> Path | None:
    """A file of its own for each of several clips."""
    return output.with_name(f"{output.stem}-{short(clip_id, 16)}{output.suffix}") if output else None


def verify(
    file: Annotated[Path, typer.Argument(help="A receipt, proof, commitment, completion receipt or checkpoint.")],
    key: Annotated[str, typer.Option(help="The platform's public checkpoint key: 64 digits, or a file with them.")],
) -> None:
    """Check a file that the platform handed out, offline: nothing is needed but the file and the public key."""
    from assets.consent.proofs.statements import ProofError
    from assets.consent.proofs.verification import verify_file

    public_key = _public_key(key)
    try:
        found = verify_file(file.read_bytes(), public_key)
    except ProofError as error:
        raise ValueError(f"{file} does NOT hold: {error}") from error
    stdout.print(f"[bold green]{plain(found.schema)} holds.[/] It shows:", highlight=False)
    for sentence in found.shown:
        stdout.print(f"  {plain(sentence, 4000)}", highlight=False, soft_wrap=True)
    stdout.print("It does not show:", highlight=False)
    for sentence in found.not_shown:
        stdout.print(f"  {plain(sentence, 4000)}", highlight=False, soft_wrap=True)


def _public_key(given: str) -> bytes:
    """32 bytes from their digits, or from a file that holds them; raises ValueError."""
    text = Path(given).read_text("ascii", errors="replace").strip() if Path(given).is_file() else given
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise ValueError(f"{short(given, 80)!r} is neither a public key of 64 hexadecimal digits nor a file with one")
    return bytes.fromhex(text)


def receipt(
    identity: Annotated[str, typer.Argument(help="The consent, or one of its events.")], output: Output = None
) -> None:
    """One file for the person: what was signed, the proof that it is recorded, where it was used, what was paid."""
    from assets.withdrawals.consent_receipts import receipt as receipt_of

    _hand_out(receipt_of(home(), identity), output)


def key(output: Output = None) -> None:
    """The platform's public checkpoint key, with which anybody checks what it hands out."""
    from assets.consent.platform import checkpoint_key
    from training.consent.keys import public_bytes

    _write(public_bytes(checkpoint_key(home())).hex().encode() + b"\n", output)


def checkpoint(output: Output = None) -> None:
    """The ledger's head, signed: whoever keeps it can see later whether history was rewritten."""
    from assets.consent.platform import checkpoint_key, platform_ledger

    here = home()
    _hand_out(platform_ledger(here).checkpoint_signed(checkpoint_key(here)), output)


def notice(
    replace: Annotated[
        Path | None, typer.Option(help="A JSON document to show from now on; old ones are kept.")
    ] = None,
    output: Output = None,
) -> None:
    """The privacy notice that people are shown before they sign."""
    from assets.consent import notices
    from training.consent.canonical import parse_strictly

    here = home()
    document = parse_strictly(replace.read_text("utf-8")) if replace else None
    shown = notices.show_from_now(here, document) if replace else notices.current(here)
    if output:
        _write(json.dumps(shown.document(), indent=1, ensure_ascii=False).encode() + b"\n", output)
    else:
        stdout.print(plain(shown.text, 20_000), highlight=False)
        stdout.print(facts({"notice": shown.sha256, "version": shown.version, "controller": shown.controller.name}))


def _hand_out(statement: Mapping[str, Any], output: Path | None) -> None:
    """A signed document as its one file."""
    from assets.consent.proofs.statements import file_bytes

    _write(file_bytes(statement), output)


def _write(content: bytes, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(content.decode())  # as it is: whoever redirects it gets the file, byte for byte
        return
    if output.is_dir():
        raise ValueError(f"{output} is a folder; name the file to write")
    write_atomically(output, content)
    stdout.print(f"written to {plain(output)}", highlight=False)
