"""How an explained clip looks on the terminal; colours say nothing that the words do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from orchestration.commands.shared import facts, plain, short, stdout, table

if TYPE_CHECKING:
    from assets.curation.reports.explain import Explanation

CELL = 60  # characters of a value; the page and --json have it whole
COLOURS = {"pass": "green", "fail": "red"} | dict.fromkeys(
    ("unmeasurable", "not_measured", "not_yet", "not_decided"), "yellow"
)


def show(found: Explanation) -> None:
    """Print everything but the pictures."""
    clip = found.clip
    said = {True: "good", False: "refused", None: "not decided yet"}[found.good]
    stdout.print(
        facts(
            {
                "clip": clip["clip_id"],
                "file": f"{clip['file_name']}, shot {clip['shot_index']} of item {clip['item_id']}",
                "delivered": f"{clip['received_day']} in {clip['delivery_id']} by {clip['contributor_id']}",
                "place": f"{clip['start_s']:.2f} to {clip['end_s']:.2f} s of the file",
                "curation": said,
                "decided by": found.decided_by,
                "decides now": found.policy if found.policy != found.decided_by else None,
                "withdrawn": found.withdrawn,
                "pictures": found.pictures,
            }
        )
    )
    _checks(found)
    declared = [(row["field"], row["declared"], row["measured"], row["verdict"]) for row in found.declared]
    stdout.print(table("\nDeclared against measured", ("", "declared", "measured", ""), declared))
    _duplicates(found)
    _captions(found)
    _eligibility(found)


def _checks(found: Explanation) -> None:
    checks = table("\nChecks", ("check", "verdict", "value", "unit", "asked", "severity", "version"), [])
    for column in checks.columns[:2]:
        column.no_wrap = True
    for row in found.checks:
        version = (row["check_version"] or "").rpartition("-")[2]
        cells = [plain(row[name], CELL) for name in ("check", "verdict", "value", "unit", "threshold", "severity")]
        style = COLOURS[row["verdict"]] + (" bold" if row["blocks"] else "")
        checks.add_row(cells[0], Text(row["verdict"], style), *cells[2:], plain(version))
    stdout.print(checks)
    doubts = [row for row in found.checks if row["verdict"] != "pass"]
    said = [(row["check"], row["reason"] or "does not block", row["detail"]) for row in doubts]
    stdout.print(table("\nWhat did not pass", ("check", "code", "found"), said) if said else "\nEvery check passed.")


def _duplicates(found: Explanation) -> None:
    rows = [
        (short(row["clip_id"], 16), row["item_id"], row["shot_index"], row["kind"], row["distance"], row["reason"])
        for row in found.duplicates
    ]
    if rows:
        columns = ("clip", "item", "shot", "kind", "distance", "code")
        stdout.print(table(f"\nThe same footage elsewhere; this one is {found.duplicate_kind}", columns, rows))
    else:
        stdout.print(f"\nThe same footage elsewhere: {'none' if found.duplicate_kind else 'not looked for yet'}")


def _captions(found: Explanation) -> None:
    rows = [
        (row["kind"], row["text"], "; ".join(f"{one['clause']} ({one['source']})" for one in row["sources"]))
        for row in found.captions
    ]
    if rows:
        stdout.print(table("\nCaptions", ("", "caption", "clauses and their sources"), rows))
    else:
        stdout.print("\nCaptions: none")


def _eligibility(found: Explanation) -> None:
    rows = [
        (row["purpose"], "eligible" if row["eligible"] else "not eligible", one["code"], one["says"])
        for row in found.eligibility
        for one in row["reasons"] or [{"code": "", "says": f"rests on {', '.join(row['consent_ids'])}"}]
    ]
    if rows:
        stdout.print(table("\nMay it be used?", ("to", "", "code", ""), rows))
    else:
        stdout.print("\nMay it be used? Not decided yet: the default is no.")
