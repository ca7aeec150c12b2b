"""`rushes curate`: what the policy asks, what another one would change, and why one clip is where it is."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from assets.curation.explain import Explanation
from assets.curation.explain import explain as explain_clip
from assets.curation.explain import page as explanation_page
from assets.curation.policy.policy import POLICY
from assets.curation.policy.policy_overrides import policy_of, read_changes, tuned, with_settings, write_changes
from assets.curation.policy.replay import Replay
from assets.curation.policy.replay import replay as replay_policy
from assets.home import Home
from assets.pages.stills import keep_page, take_stills
from orchestration.commands.shared import facts, home, open_page, plain, short, stderr, stdout, table
from orchestration.services import prepare_instance
from orchestration.settings import Settings

app = typer.Typer(help="Show the policy, try other thresholds, and explain verdicts.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]
STILLS = 12
CHANGES = ("newly_passing", "newly_failing", "newly_blocking", "newly_harmless")
CELL = 60  # characters of a value on the terminal; the page and --json have it whole
COLOURS = {"pass": "green", "fail": "red"} | dict.fromkeys(
    ("unmeasurable", "not_measured", "not_yet", "not_decided"), "yellow"
)


@app.command()
def policy(as_json: AsJson = False) -> None:
    """Show the checks on every clip, with this home's own thresholds where it has some."""
    current = policy_of(home())
    if as_json:
        _print_json({"policy": current.name, "checks": [asdict(check) for check in current.checks]})
        return
    rows = [
        (
            check.name,
            check.threshold or "",
            check.unit or "",
            check.severity,
            check.reason,
            "" if check == (usual := POLICY.check(check.name)) else f"usually {usual.threshold}, {usual.severity}",
        )
        for check in current.checks
    ]
    columns = ("check", "asks", "unit", "severity", "code", "changed here")
    stdout.print(table(f"Policy {current.name}", columns, rows))


@app.command()
def replay(
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="check.low, check.high or check.severity=value; the value `default` resets it."),
    ] = None,
    day: Annotated[list[str] | None, typer.Option(help="Only these days; all without it.")] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Use this policy from now on, and decide all days again.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show which clips another policy would accept or refuse, from stored values alone: nothing is decoded.

    Without --set the home's policy is compared with what is recorded. Nothing is written without --apply.
    """
    if apply and day:
        raise ValueError("--apply decides all days, so that one policy holds for all; leave --day out")
    site = home()
    received = site.lake.partitions("shots")
    if unknown := sorted(set(day or ()) - set(received)):
        raise LookupError(
            f"no clips were received on {', '.join(unknown)}; there are {', '.join(received) or 'none yet'}"
        )
    changes = with_settings(read_changes(site), set_ or [])
    wanted = tuned(changes)
    if apply:
        write_changes(site, changes)
    with stderr.status("deciding again") as status:
        outcome = replay_policy(
            site,
            wanted,
            sorted(set(day)) if day else None,
            write=apply,
            say=lambda done, total: status.update(f"deciding again: {done} of {total} days"),
        )
    if apply:
        _report_to_dagster(outcome)
    if as_json:
        _print_json(outcome.as_dict())
        return
    _show_replay(outcome)
    if not apply:
        stdout.print("Nothing was written; --apply decides by it from now on.")
        return
    written = len(outcome.days_written)
    stdout.print(f"{written} of {outcome.days} days were replaced; {outcome.policy} decides from now on.")
    if written:
        stdout.print("`rushes run refresh` takes it to the warehouse, the refresh sensor does so by itself.")


def _report_to_dagster(outcome: Replay) -> None:
    """Report the new partitions of `verdicts`, so that Dagster's pages and what depends on them know."""
    import dagster as dg

    os.environ["DAGSTER_HOME"] = str(prepare_instance(Settings.load()))
    with dg.DagsterInstance.get() as instance:
        for day, sha256 in outcome.days_written.items():
            instance.report_runless_asset_event(
                dg.AssetMaterialization(
                    "verdicts",
                    description="decided again from stored values",
                    partition=day,
                    metadata={"policy": outcome.policy, "decided_again": True},
                    tags={"dagster/data_version": sha256},
                )
            )


def _show_replay(outcome: Replay) -> None:
    before = ", ".join(name for name, _ in outcome.policies_before.most_common())
    stdout.print(f"Policy {plain(before or 'none')} to [bold]{plain(outcome.policy)}[/]", highlight=False)
    rows = [
        (
            change.check,
            change.threshold
            if change.threshold_before in (None, change.threshold)
            else f"{change.threshold_before} → {change.threshold}",
            *(f"{getattr(change, name):,}" for name in CHANGES),
            " ".join(map(short, change.examples)),
        )
        for change in outcome.checks
    ]
    columns = ("check", "threshold", "newly passing", "passing no more", "newly blocking", "blocking no more", "clips")
    stdout.print(table("What changes", columns, rows) if rows else "No verdict changes.")
    stdout.print(
        f"{outcome.clips:,} clips of {outcome.days:,} days: "
        f"[bold]{outcome.good_before:,} good before, {outcome.good_after:,} after[/]"
        f" ({outcome.newly_good:,} newly good, {outcome.newly_refused:,} newly refused)",
        highlight=False,
    )


@app.command()
def explain(
    clip: Annotated[str, typer.Argument(help="A clip or item (a prefix will do), a file's name, or delivery/file.")],
    shot: Annotated[int | None, typer.Option(min=0, help="Which shot of the file.")] = None,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
    as_json: AsJson = False,
) -> None:
    """Show every check on a clip with value, unit, threshold, version and verdict, and a page with its frames."""
    site = home()
    explanation = explain_clip(site, clip, shot)
    if as_json:
        _print_json(explanation.as_dict())
        return
    _show_explanation(explanation)
    open_page(_page(site, explanation), open_)


def _page(site: Home, explanation: Explanation) -> Path:
    clip = explanation.clip
    place = clip["media_key"], clip["start_frame"], clip["end_frame"]
    stills = [] if explanation.pictures else take_stills(site, *place, STILLS)
    name = f"{clip['item_id']}-{clip['shot_index']}-explained"
    return keep_page(
        site, clip["clip_id"], name, explanation_page(explanation, policy_of(site), stills), datetime.now(UTC)
    )


def _show_explanation(explanation: Explanation) -> None:
    """Everything but the pictures; colours say nothing that the words do not."""
    clip = explanation.clip
    stdout.print(
        facts(
            {
                "clip": clip["clip_id"],
                "file": f"{clip['file_name']}, shot {clip['shot_index']} of item {clip['item_id']}",
                "delivered": f"{clip['received_day']} in {clip['delivery_id']} by {clip['contributor_id']}",
                "place": f"{clip['start_s']:.2f} to {clip['end_s']:.2f} s of the file",
                "curation": {True: "good", False: "refused", None: "not decided yet"}[explanation.good],
                "decided by": explanation.decided_by,
                "decides now": explanation.policy if explanation.policy != explanation.decided_by else None,
                "withdrawn": explanation.withdrawn,
                "pictures": explanation.pictures,
            }
        )
    )
    _show_checks(explanation)
    declared = [(row["field"], row["declared"], row["measured"], row["verdict"]) for row in explanation.declared]
    stdout.print(table("\nDeclared against measured", ("", "declared", "measured", ""), declared))
    duplicates = [
        (short(row["clip_id"], 16), row["item_id"], row["shot_index"], row["kind"], row["distance"], row["reason"])
        for row in explanation.duplicates
    ]
    title = f"The same footage elsewhere; this one is {explanation.duplicate_kind}"
    none = f"The same footage elsewhere: {'none' if explanation.duplicate_kind else 'not looked for yet'}"
    _show_rows(title, ("clip", "item", "shot", "kind", "distance", "code"), duplicates, none)
    captions = [
        (row["kind"], row["text"], "; ".join(f"{part['clause']} ({part['source']})" for part in row["sources"]))
        for row in explanation.captions
    ]
    _show_rows("Captions", ("", "caption", "clauses and their sources"), captions, "Captions: none")
    uses = [
        (row["purpose"], "eligible" if row["eligible"] else "not eligible", reason["code"], reason["says"])
        for row in explanation.eligibility
        for reason in row["reasons"] or [{"code": "", "says": f"rests on {', '.join(row['consent_ids'])}"}]
    ]
    none = "May it be used? Not decided yet: the default is no."
    _show_rows("May it be used?", ("to", "", "code", ""), uses, none)


def _show_checks(explanation: Explanation) -> None:
    checks = table("\nChecks", ("check", "verdict", "value", "unit", "asked", "severity", "version"), [])
    for column in checks.columns[:2]:
        column.no_wrap = True
    for row in explanation.checks:
        version = (row["check_version"] or "").rpartition("-")[2]
        cells = [plain(row[name], CELL) for name in ("check", "verdict", "value", "unit", "threshold", "severity")]
        style = COLOURS[row["verdict"]] + (" bold" if row["blocks"] else "")
        checks.add_row(cells[0], Text(row["verdict"], style), *cells[2:], plain(version))
    stdout.print(checks)
    problems = [
        (row["check"], row["reason"] or "does not block", row["detail"])
        for row in explanation.checks
        if row["verdict"] != "pass"
    ]
    _show_rows("What did not pass", ("check", "code", "found"), problems, "Every check passed.")


def _show_rows(title: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]], none: str) -> None:
    stdout.print(table(f"\n{title}", columns, rows) if rows else f"\n{none}")


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, sort_keys=True, default=str))
