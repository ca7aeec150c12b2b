"""What `rushes status` counts and lists."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from assets.home import Home
from orchestration.status import LISTED, Status, read_status, render_status

DAY = "2026-11-02"


def file(item_id: str, state: str, reasons: list[str]) -> dict[str, Any]:
    return {"item_id": item_id, "received_day": DAY, "state": state, "reasons": reasons}


def test_a_file_that_was_refused_on_receipt_and_again_when_taken_in_counts_once(home: Home) -> None:
    gone, broken, good = (file(name, "quarantined", ["item.missing_file: a"]) for name in ("gone", "broken", "good"))
    items = [gone, broken | {"state": "accepted", "reasons": []}, good | {"state": "accepted", "reasons": []}]
    named = [
        row | {"delivery_id": "d-1", "position": n, "file_name": row["item_id"], "persons_json": "[]"}
        for n, row in enumerate(items)
    ]
    home.lake.write("delivery_items", named, DAY)
    decoded = [gone, broken | {"reasons": ["media.truncated: b"]}, good | {"state": "accepted", "reasons": []}]
    home.lake.write("media", [row | {"size_bytes": 0, "probe_version": "1"} for row in decoded], DAY)
    status = read_status(home)
    assert status.received == 3
    assert {row["file"]: row["reasons"] for row in status.quarantined} == {
        "d-1/gone": ["item.missing_file: a"],
        "d-1/broken": ["media.truncated: b"],
    }
    assert len(status.quarantined) == 2


def test_a_flood_of_refused_files_is_counted_and_not_all_listed() -> None:
    files = [{"file": f"d-1/{n:04}.mp4", "reasons": ["media.empty: no bytes"]} for n in range(LISTED + 40)]
    console = Console(record=True, width=120)
    console.print(render_status(Status(received=len(files), quarantined=files)))
    output = console.export_text()
    assert "and 40 more" in output
    assert output.count("d-1/") == LISTED


def test_the_summary_shows_scores_in_words_and_unmeasured_ones_in_one_line() -> None:
    def row(metric: str, part: str, value: float | None) -> dict[str, Any]:
        ends = {"ci_low": None, "ci_high": None}
        output = {"unit": "share", "better": "higher", "n": 48, "why": None if value else "no trials were asked for"}
        return {"metric": metric, "slice": part, "value": value} | ends | output

    scores = [row("trial_colour", "all", 0.9), row("trial_colour", "reference=base", 0.8)]
    scores += [row(f"trial_{name}", "all", None) for name in ("side", "count", "direction")]
    console = Console(record=True, width=160)
    console.print(render_status(Status(snapshot={"root": "ab", "members": 2}, scorecard=scores)))
    output = console.export_text()
    (line,) = [line for line in output.splitlines() if "colour as asked" in line]
    assert "90 %" in line
    assert "80 %" in line
    assert output.lower().count("not measured") == 1
