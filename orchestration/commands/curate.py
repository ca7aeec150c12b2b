"""`rushes curate`: what the policy asks, what another one would change, and why one clip is where it is.

How a corpus is decided again is the business of `assets.curation.policy.replay`, what is known of a clip that of
`assets.curation.reports.explain`.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from assets.home import Home
from orchestration.commands import explained
from orchestration.commands.shared import home, open_page, plain, short, stderr, stdout, table
from orchestration.settings import Settings

if TYPE_CHECKING:
    from assets.curation.policy.replay import Replay

app = typer.Typer(help="Look at what the checks ask, try other thresholds, and ask why.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="As JSON, for programs.")]
STILLS = 12


@app.command()
def policy(as_json: AsJson = False) -> None:
    """What is asked of every clip, with this home's own thresholds where it has some."""
    from assets.curation.policy.policy import POLICY
    from assets.curation.policy.policy_overrides import policy_of

    ours = policy_of(home())
    if as_json:
        _print_json({"policy": ours.name, "checks": [asdict(check) for check in ours.checks]})
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
        for check in ours.checks
    ]
    columns = ("check", "asks", "unit", "severity", "code", "changed here")
    stdout.print(table(f"Policy {ours.name}", columns, rows))


@app.command()
def replay(
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="check.low, check.high or check.severity=value; `default` as value takes it back."),
    ] = None,
    day: Annotated[list[str] | None, typer.Option(help="Only these days; all without it.")] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Decide by it from now on, and all that was decided again.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Which clips another policy would accept or refuse, from stored values alone: nothing is decoded.

    Without --set the home's policy is compared with what is recorded. Nothing is written without --apply.
    """
    from assets.curation.policy.policy_overrides import read_changes, tuned, with_settings, write_changes
    from assets.curation.policy.replay import replay as decide_again

    if apply and day:
        raise ValueError("--apply decides all days, so that one policy holds for all; leave --day out")
    here = home()
    known = here.lake.partitions("shots")
    if unknown := sorted(set(day or ()) - set(known)):
        raise LookupError(f"no clips were received on {', '.join(unknown)}; there are {', '.join(known) or 'none yet'}")
    changes = with_settings(read_changes(here), set_ or [])
    wanted = tuned(changes)
    if apply:
        write_changes(here, changes)
    with stderr.status("deciding again") as status:
        found = decide_again(
            here,
            wanted,
            sorted(set(day)) if day else None,
            write=apply,
            say=lambda done, total: status.update(f"deciding again: {done} of {total} days"),
        )
    if apply:
        _record(found)
    if as_json:
        _print_json(found.as_dict())
        return
    _show(found)
    if apply:
        stdout.print(
            f"{len(found.days_written)} of {found.days} days were replaced; {found.policy} decides from now on."
        )
        if found.days_written:
            stdout.print("`rushes run refresh` takes it to the warehouse, the refresh sensor does so by itself.")
    else:
        stdout.print("Nothing was written; --apply decides by it from now on.")


@app.command()
def explain(
    clip: Annotated[str, typer.Argument(help="A clip or item (a prefix will do), a file's name, or delivery/file.")],
    shot: Annotated[int | None, typer.Option(min=0, help="Which shot of the file.")] = None,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
    as_json: AsJson = False,
) -> None:
    """Every check on a clip with value, unit, threshold, version and verdict, and a page with its frames."""
    from assets.curation.reports.explain import explain as gather

    here = home()
    found = gather(here, clip, shot)
    if as_json:
        _print_json(found.as_dict())
        return
    explained.show(found)
    open_page(_page(here, found), open_)


def _page(here: Home, found: Any) -> Any:
    from assets.curation.policy.policy_overrides import policy_of
    from assets.curation.reports.explain import page
    from assets.pages.stills import keep_page, take_stills

    clip = found.clip
    place = clip["media_key"], clip["start_frame"], clip["end_frame"]
    stills = [] if found.pictures else take_stills(here, *place, STILLS)
    rest = f"{clip['item_id']}-{clip['shot_index']}-explained"
    return keep_page(here, clip["clip_id"], rest, page(found, policy_of(here), stills), datetime.now(UTC))


def _record(found: Replay) -> None:
    """Tell Dagster which partitions of `verdicts` are new, so that its pages and what depends on them know."""
    import os

    import dagster as dg

    from orchestration.services import prepare_instance

    os.environ["DAGSTER_HOME"] = str(prepare_instance(Settings.from_env()))
    with dg.DagsterInstance.get() as instance:
        for day, sha256 in found.days_written.items():
            instance.report_runless_asset_event(
                dg.AssetMaterialization(
                    "verdicts",
                    description="decided again from stored values",
                    partition=day,
                    metadata={"policy": found.policy, "decided_again": True},
                    tags={"dagster/data_version": sha256},
                )
            )


def _show(found: Replay) -> None:
    before = ", ".join(name for name, _ in found.policies_before.most_common())
    stdout.print(f"Policy {plain(before or 'none')} to [bold]{plain(found.policy)}[/]", highlight=False)
    rows = [
        (
            one.check,
            f"{one.threshold_before} → {one.threshold}"
            if one.threshold_before not in (None, one.threshold)
            else one.threshold,
            *(f"{n:,}" for n in (one.newly_passing, one.newly_failing, one.newly_blocking, one.newly_harmless)),
            " ".join(short(clip) for clip in one.examples),
        )
        for one in found.checks
    ]
    columns = ("check", "threshold", "newly passing", "passing no more", "newly blocking", "blocking no more", "clips")
    stdout.print(table("What changes", columns, rows) if rows else "No verdict changes.")
    stdout.print(
        f"{found.clips:,} clips of {found.days:,} days: [bold]{found.good_before:,} good before, {found.good_after:,} after[/]"
        f" ({found.newly_good:,} newly good, {found.newly_refused:,} newly refused)",
        highlight=False,
    )


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, sort_keys=True, default=str))
