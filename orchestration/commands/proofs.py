"""`rushes prove` and `rushes verify`, `rushes consent receipt|key|checkpoint|notice`: what a stranger can check.

Proofs are made from this home. Checking one needs its file and the platform's public key, and opens no home.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from assets.consent import notices
from assets.consent.platform import checkpoint_key, platform_ledger
from assets.consent.proofs.models import EXCLUSION
from assets.consent.proofs.statements import ProofError, file_bytes
from assets.consent.proofs.verification import verify_file
from assets.store import write_atomically
from assets.withdrawals import answers
from orchestration.commands.shared import facts, home, plain, say, short, stdout
from training.consent.canonical import parse_strictly
from training.consent.keys import public_bytes

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
    asked = excluded or included
    if asked is None or (excluded and included):
        raise ValueError("say which: --excluded CLIP or --included CLIP")
    site = home()
    statements = {clip_id: answers.answer(site, clip_id, model) for clip_id in answers.clips_named(site, asked)}
    for clip_id, statement in statements.items():
        absent = statement["schema"] == EXCLUSION
        if absent != bool(excluded):
            raise LookupError(_contradiction(clip_id, model, statement, absent))
    for clip_id, statement in statements.items():
        _hand_out(statement, _own_file(output, clip_id) if len(statements) > 1 else output)


def _contradiction(clip_id: str, model: str, statement: Mapping[str, Any], absent: bool) -> str:
    if absent:
        return f"clip {clip_id} is in no snapshot that version {model} saw; `rushes prove --excluded` proves that"
    roots = ", ".join(short(members["snapshot_root"], 16) for members in statement["sets"])
    return (
        f"version {model} saw clip {clip_id}: it is in snapshot {roots}. `rushes trace {short(clip_id, 16)}` shows where it "
        "went; `rushes consent revoke` withdraws it, and `rushes prove --included` proves that it was seen"
    )


def _own_file(output: Path | None, clip_id: str) -> Path | None:
    """A file of its own for each of several clips."""
    return output.with_name(f"{output.stem}-{short(clip_id, 16)}{output.suffix}") if output else None


def verify(
    file: Annotated[Path, typer.Argument(help="A receipt, proof, commitment, completion receipt or checkpoint.")],
    key: Annotated[str, typer.Option(help="The platform's public checkpoint key: 64 digits, or a file with them.")],
) -> None:
    """Check a file that the platform handed out, offline: nothing is needed but the file and the public key."""
    public_key = _public_key(key)
    try:
        verified = verify_file(file.read_bytes(), public_key)
    except ProofError as error:
        raise ValueError(f"{file} does NOT hold: {error}") from error
    say(f"[bold green]{plain(verified.schema)} holds.[/] It shows:")
    _list(verified.shown)
    say("It does not show:")
    _list(verified.not_shown)


def _list(sentences: Iterable[str]) -> None:
    for sentence in sentences:
        stdout.print(f"  {plain(sentence, 4000)}", highlight=False, soft_wrap=True)


def _public_key(key: str) -> bytes:
    """32 bytes from their digits, or from a file that holds them; raises ValueError."""
    text = Path(key).read_text("ascii", errors="replace").strip() if Path(key).is_file() else key
    if len(text) != 64 or set(text) - set("0123456789abcdef"):
        raise ValueError(f"{short(key, 80)!r} is neither a public key of 64 hexadecimal digits nor a file with one")
    return bytes.fromhex(text)


def receipt(
    identity: Annotated[str, typer.Argument(help="The consent, or one of its events.")], output: Output = None
) -> None:
    """Write a receipt for the person: what was signed, proof that it is recorded, where it was used, what was paid."""
    _hand_out(answers.receipt(home(), identity), output)


def key(output: Output = None) -> None:
    """Print the platform's public checkpoint key, with which anybody can check its files."""
    _write(public_bytes(checkpoint_key(home())).hex().encode() + b"\n", output)


def checkpoint(output: Output = None) -> None:
    """Sign the ledger's head. Whoever keeps it can see later whether history was rewritten."""
    site = home()
    _hand_out(platform_ledger(site).checkpoint_signed(checkpoint_key(site)), output)


def notice(
    replace: Annotated[
        Path | None, typer.Option(help="A JSON document to show from now on; old ones are kept.")
    ] = None,
    output: Output = None,
) -> None:
    """Show or replace the privacy notice that people read before they sign."""
    site = home()
    document = parse_strictly(replace.read_text("utf-8")) if replace else None
    shown = notices.show_from_now(site, document) if replace else notices.current(site)
    if output:
        _write(json.dumps(shown.document(), indent=1, ensure_ascii=False).encode() + b"\n", output)
    else:
        stdout.print(plain(shown.text, 20_000), highlight=False)
        stdout.print(facts({"notice": shown.sha256, "version": shown.version, "controller": shown.controller.name}))


def _hand_out(statement: Mapping[str, Any], output: Path | None) -> None:
    """A signed document as its one file."""
    _write(file_bytes(statement), output)


def _write(content: bytes, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(content.decode())  # as it is: whoever redirects it gets the file, byte for byte
        return
    if output.is_dir():
        raise ValueError(f"{output} is a folder; name the file to write")
    write_atomically(output, content)
    say(f"written to {plain(output)}")
