"""What a person types: the commands say what they did, what they did not understand, and what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from assets.curation.captioning.embeddings import embedding_rows
from assets.home import Home
from orchestration.status import LISTED, Status, read_status, render_status
from tests.rows import DAY


def test_a_request_line_is_parsed_kept_and_what_was_not_understood_is_said(rushes) -> None:
    output = rushes("request", "add", "sunset over Paris, 4K, 16:9, 30 seconds, 20 clips, sparkly unicorn vibe")
    assert "not understood: 'sparkly unicorn vibe'" in output
    for part in ("Paris", "3840", "16:9", "28.0", "32.0"):
        assert part in output
    listed = rushes("request", "list")
    assert "0/20" in listed
    request_id = next(word for word in listed.split() if word.startswith("r-"))
    assert "sunset over Paris" in rushes("request", "show", request_id)


def test_an_unknown_request_is_one_line_and_exit_code_one(rushes) -> None:
    output = rushes("request", "show", "r-none", code=1)
    assert "rushes request list" in output
    assert "Traceback" not in output


def test_status_of_an_empty_home_says_what_to_do_first(rushes) -> None:
    assert "rushes request add" in rushes("status")


def test_generating_before_a_champion_exists_says_so(rushes, tmp_path: Path) -> None:
    output = rushes("generate", "a red circle", "-o", str(tmp_path / "x.mp4"), code=1)
    assert "champion" in output
    assert not (tmp_path / "x.mp4").exists()


def test_without_a_version_there_is_no_history(rushes) -> None:
    assert "nothing was promoted or refused yet" in rushes("history")


def test_tracing_something_unknown_names_it(rushes) -> None:
    assert "nothing-here" in rushes("trace", "nothing-here", code=1)


def test_what_people_write_is_shown_as_it_is_and_is_never_markup(rushes) -> None:
    title = "[/red] sunset [bold]over Paris, 3 clips"
    assert title in rushes("request", "add", title)
    assert title in rushes("request", "list")
    assert "[/bold]" in rushes("trace", "[/bold]", code=1)


def test_a_control_sequence_in_a_request_does_not_reach_the_terminal(rushes) -> None:
    assert "\x1b" not in rushes("request", "add", "sunset \x1b[31mover Paris, 3 clips")


@pytest.mark.parametrize(
    "command",
    [
        ("request", "add", "--file", "."),
        ("consent", "grant", "c-luc", "ab" * 32, "--key", "."),
        ("generate", "a red circle", "-o", "."),
        ("run", "intake", "--day", "2026-99-99"),
    ],
)
def test_misuse_is_one_line_and_exit_code_one(
    rushes, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr("orchestration.session.Session.__enter__", lambda session: session)
    monkeypatch.setattr("orchestration.session.Session.__exit__", lambda *_: None)
    output = rushes(*command, code=1)
    assert output.startswith("rushes: ")
    assert output.count("\n") == 1


def test_a_home_that_cannot_be_written_is_one_line(rushes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taken").write_text("a file where the home should be")
    monkeypatch.setenv("RUSHES_HOME", str(tmp_path / "taken"))
    output = rushes("request", "list", code=1)
    assert "taken" in output
    assert output.count("\n") == 1


@pytest.mark.parametrize("file", ["rushes.db", "warehouse.duckdb"])
def test_a_database_that_is_none_is_one_line(rushes, tmp_path: Path, file: str) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / file).write_text("no database")
    output = rushes("status", code=1)
    assert "database" in output
    assert output.count("\n") == 1


def test_a_database_url_that_is_none_is_one_line(rushes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUSHES_DATABASE_URL", "nonsense")
    assert rushes("status", code=1).count("\n") == 1


@pytest.mark.parametrize("command", [[], ["request"], ["consent"], ["run", "--help"], ["trace", "--help"]])
def test_every_command_explains_itself(rushes, command: list[str]) -> None:
    assert "Usage" in rushes(*command, code=0 if "--help" in command else 2)


def test_the_help_of_generate_has_a_line_for_every_mode_and_number(rushes) -> None:
    from training.model.conditioning import NUMERIC
    from training.model.config import MODES

    output = " ".join(rushes("generate", "--help").replace("│", " ").split())
    lines = {
        "text": "Text to video",
        "first": "Image to video",
        "last": "last frame",
        "ends": "both ends",
        "prefix": "Extension forward",
        "suffix": "Extension backward",
        "between": "in-betweening",
        "keyframes": "Key frames",
    }
    assert lines.keys() == set(MODES)
    for line in (
        *lines.values(),
        "Video to video",
        "Negative prompt",
        "Guide only between",
        "guidance-rescale",
        *NUMERIC,
    ):
        assert line in output, line


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--first", "nothing.png"), "no such file"),
        (("--first", "ab" * 32), "no clips to start from yet"),
        (("--keyframe", "1.5"), "SECONDS=FILE"),
        (("--keyframe", "soon=a.png"), "not a number"),
        (("--number", "fps"), "NAME=VALUE"),
        (("--size", "big"), "not a number"),
        (("--negative", "a nude"), "policy.sexual"),
    ],
)
def test_what_generate_cannot_use_is_one_line_that_says_why(rushes, tmp_path: Path, options: tuple, why: str) -> None:
    output = rushes("generate", "a red circle", "-o", str(tmp_path / "x.mp4"), *options, code=1)
    assert why in output
    assert output.count("\n") == 1


# -- search ------------------------------------------------------------------------------------------------------------


VENDOR = Path(__file__).parents[2] / ".vendor"
CAPTIONS = {
    "surf": "the sun goes down over the sea, waves on a beach",
    "tram": "a tram in a busy street by night",
    "cook": "hands cut vegetables in a kitchen",
}


@pytest.mark.skipif(not (VENDOR / "minilm" / "model.safetensors").is_file(), reason="run `make setup`")
def test_words_find_the_clip_that_shows_them(
    rushes: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUSHES_VENDOR", str(VENDOR))
    home = Home.local(tmp_path / "home", vendor=VENDOR)
    rows = [
        {"clip_id": clip, "item_id": f"i-{clip}", "shot_index": 0, "received_day": DAY, "kind": "long", "variant": 0}
        | {"text": text, "sources_json": "[]", "captioner": "structured/2", "refused": []}
        for clip, text in CAPTIONS.items()
    ]
    home.lake.write("captions", rows, DAY)
    home.lake.write("embeddings", embedding_rows(home, rows), DAY)
    output = rushes("search", "sunset over water [bold]", "--top", "2")
    assert "2 clips nearest to: sunset over water [bold]" in output
    assert output.index("surf") < output.index("unknown")
    assert CAPTIONS["surf"] in output
    assert output.count("unknown") == 2


def test_a_home_without_captions_says_what_to_do(rushes: Callable[..., str]) -> None:
    assert "rushes run intake" in rushes("search", "sunset over water", code=1)


# -- status ------------------------------------------------------------------------------------------------------------


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
