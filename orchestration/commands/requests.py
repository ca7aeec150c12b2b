"""`rushes request`: ask for footage, list what is asked for, look at one request."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from assets.requests.document import parse_document
from assets.requests.parse import parse_line
from assets.requests.store import Header, add_request, get_request, list_requests
from orchestration.commands.shared import facts, home, plain, say, stdout, table
from orchestration.status import fulfilment

app = typer.Typer(help="Ask for footage and see how far a request is filled.", no_args_is_help=True)


@app.command()
def add(
    text: Annotated[str, typer.Argument(help='For instance "sunset over Paris, 4K, 16:9, 30 seconds, 20 clips".')] = "",
    file: Annotated[Path | None, typer.Option("--file", "-f", help="A YAML request instead of a line.")] = None,
    org: Annotated[str | None, typer.Option(help="Who asks and pays.")] = None,
) -> None:
    """Read and keep a request; show what was understood and what was not."""
    if bool(text) == bool(file):
        raise ValueError(
            'give a request line, or --file request.yaml: rushes request add "street by day, 720p, 5 clips"'
        )
    header = Header()
    if file:
        document = parse_document(file.read_text(encoding="utf-8"))
        parsed, header = document.parsed, document.header
    else:
        parsed = parse_line(text).checked()
    header = replace(header, org_id=org or header.org_id)
    row, new = add_request(home().database_url, parsed, dt.datetime.now(dt.UTC), header)
    say(f"[bold]{row['request_id']}[/] {'kept' if new else 'was already there'}")
    show_row(row)
    for note in parsed.assumed:
        stdout.print(f"assumed: {plain(note)}", style="dim")
    if parsed.not_understood:
        stdout.print(f"[yellow]not understood:[/] {plain(', '.join(map(repr, parsed.not_understood)))}")


@app.command("list")
def list_() -> None:
    """List all requests and how far each is filled."""
    site = home()
    filled = {request_id: row["accepted_units"] for request_id, row in fulfilment(site).items()}
    rows = [
        (key := row["request_id"], row["status"], f"{filled.get(key, 0)}/{row['target_units']}", row["title"])
        for row in list_requests(site.database_url)
    ]
    stdout.print(table("Requests", ("request", "status", "filled", "asked for"), rows))


@app.command()
def show(request_id: str) -> None:
    """Show one request: criteria, state, and what was not understood."""
    site = home()
    show_row(get_request(site.database_url, request_id))
    if counts := fulfilment(site).get(request_id):
        stdout.print(facts({name.replace("_", " "): value for name, value in counts.items() if name != "request_id"}))


def show_row(row: dict[str, Any]) -> None:
    stdout.print(
        facts(
            {
                "asked for": row["title"],
                "by": row["org_id"],
                "status": row["status"],
                "clips": row["target_units"],
                "price": f"{row['price_minor']} {row['currency']} minor units a clip" if row["price_minor"] else None,
                "deadline": row["deadline_at"],
                "not understood": ", ".join(row["not_understood"]),
            }
        )
    )
    criteria = [
        (c["field"], c["op"], c["value"], "must" if c["hard"] else "should", c["check"])
        for c in json.loads(row["criteria_json"])
    ]
    stdout.print(table("", ("field", "", "value", "", "checked by"), criteria))
