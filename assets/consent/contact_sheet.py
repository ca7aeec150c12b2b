"""A clip's contact sheet: everything that a reviewer needs to judge it, gathered from the lake, the ledger and the file, as
one self-contained HTML page: no script, no request, light and dark, printable.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from assets.consent.clip import Clip, ClipKey, clip_key, digest
from assets.consent.clip_facts import read_clips
from assets.consent.disputes import Dispute, disputes
from assets.consent.ledger import Ledger
from assets.consent.review_counting import POLICY
from assets.consent.review_queue import appealed, hours_between, may_judge, waiting_since, waits
from assets.consent.reviewers import read_register
from assets.home import Home
from assets.pages.html import Html, chip, code, joined, lines, page, section, shown, table, tag, text, verdict
from assets.pages.stills import Still, gallery, keep_page, take_stills
from assets.reasons import in_words
from training.consent.eligibility import PURPOSE, Release, releases
from training.consent.state import ConsentState, Use
from training.consent.times import HORIZON

PICTURES = 12  # frames on a page
PARTS = {"contributor": "contributor", "depicted": "person", "guardian": "minor"}


@dataclass(frozen=True)
class Sheet:
    """What the page shows. Rows are those of the lake's tables."""

    clip: Clip
    digest: str  # what a judgement of this page binds
    pictures: list[Still]
    releases: list[Release]
    request: dict[str, Any] | None
    media: dict[str, Any]
    verdicts: list[dict[str, Any]]
    duplicates: list[dict[str, Any]]  # of the same group, this clip's first
    disputes: list[Dispute]
    may_judge: tuple[str, ...]
    waiting_since: str
    age_hours: float
    appealed: bool


def find_clip(clips: Sequence[Clip], identity: str, shot_index: int | None = None) -> Clip:
    """The clip that a prefix of its identity names; where the same footage came twice, the one that people judge.

    Raises LookupError for none, or for a prefix that several share.
    """
    matches = [clip for clip in clips if identity and clip.facts.clip_id.startswith(identity)]
    matches = [clip for clip in matches if shot_index in (None, clip.facts.shot_index)]
    if not matches:
        raise LookupError(f"no clip {identity!r}; `rushes review list` shows those that wait")
    if len({clip.facts.clip_id for clip in matches}) > 1:
        raise LookupError(f"{identity!r} could be several clips; give more of it")
    return min(matches, key=lambda clip: (not waits(clip), not clip.facts.duplicate_ok, clip.key))


def build_sheet(home: Home, key: ClipKey, now: datetime, pictures: int = PICTURES) -> Sheet:
    """Gather the sheet of a clip. Raises LookupError for a clip that the lake does not know."""
    state = ConsentState.fold(Ledger(home.database_url).events())
    clips = read_clips(home, state)
    clip = next((clip for clip in clips if clip.key == key), None)
    if clip is None:
        raise LookupError(f"no clip {key[0]!r} with this file and shot")
    since, item_id = waiting_since(clip), clip.facts.item_id
    return Sheet(
        clip=clip,
        digest=digest(clip),
        pictures=take_stills(home, clip.media_key, clip.start_frame, clip.end_frame, pictures),
        releases=releases(clip.facts, Use(clip.facts.assets, PURPOSE, now, now + HORIZON), state),
        request=_row(home, "requests", request_id=clip.declared["request_id"]),
        media=_row(home, "media", item_id=item_id) or {},
        verdicts=[row for row in home.lake.rows("verdicts") if clip_key(row) == clip.key],
        duplicates=_group(home, clip),
        disputes=[dispute for dispute in disputes(home, clips) if clip in dispute.clips],
        may_judge=tuple(sorted(may_judge(clip, read_register(home.database_url)))),
        waiting_since=since,
        age_hours=hours_between(since, now),
        appealed=appealed(clip),
    )


def _row(home: Home, table: str, **wanted: Any) -> dict[str, Any] | None:
    rows = home.lake.rows(table)
    return next((row for row in rows if all(row[name] == value for name, value in wanted.items())), None)


def _group(home: Home, clip: Clip) -> list[dict[str, Any]]:
    """Rows of the clip's duplicate group, its own first."""
    rows = [row for row in home.lake.rows("duplicates") if row["dup_group"] == clip.facts.dup_group]
    return sorted(rows, key=lambda row: (clip_key(row) != clip.key, row["item_id"], row["shot_index"]))


def write_page(home: Home, clip: Clip, now: datetime) -> tuple[Path, str]:
    """Write the clip's page below the home's state folder, for its owner only: (path, digest of what it shows)."""
    sheet = build_sheet(home, clip.key, now)
    return keep_page(
        home, clip.facts.clip_id, f"{clip.facts.item_id}-{clip.facts.shot_index}", render(sheet), now
    ), sheet.digest


# -- the page --------------------------------------------------------------------------------------------------------


def render(sheet: Sheet) -> str:
    """The page of a clip."""
    declared = sheet.clip.declared
    title = declared.get("subject") or "a clip without a description"
    body = joined(
        _header(sheet, title),
        _numbers(sheet),
        gallery(sheet.pictures),
        section("Who is in it, and who has agreed", _releases(sheet)),
        section("Declared against measured", _declared(sheet)),
        section("Checks that did not pass", _failed(sheet.verdicts)),
        section("The same footage elsewhere", _duplicates(sheet)),
        section("Earlier judgements", _rounds(sheet)),
        section("Disputes", _disputes(sheet)),
        _footer(sheet),
    )
    return page(title, body)


# -- parts of the page -----------------------------------------------------------------------------------------------


def _header(sheet: Sheet, title: str) -> Html:
    facts, declared = sheet.clip.facts, sheet.clip.declared
    asked = f"for {sheet.request['org_id']}: {sheet.request['title']}" if sheet.request else "for the catalogue"
    where = " · ".join(str(part) for part in (declared.get("location"), declared.get("time_of_day")) if part)
    return joined(
        tag("header", joined(tag("p", joined("Review · ", asked), "kicker"), tag("h1", title))),
        tag("p", where, "lead"),
        tag("p", joined(*(chip(text, kind) for text, kind in _states(sheet))), "chips"),
        tag(
            "p",
            joined("clip ", code(facts.clip_id), f" · shot {facts.shot_index} · by ", facts.contributor_id or "?"),
        ),
    )


def _states(sheet: Sheet) -> list[tuple[str, str]]:
    facts, late = sheet.clip.facts, sheet.age_hours > POLICY.sla_hours
    chips = [(f"{facts.approvals} of {POLICY.approvals} approvals", "good" if facts.approvals >= 2 else "open")]
    if facts.rejections:
        chips.append((f"rejected by {facts.rejections}", "bad"))
    if sheet.appealed:
        chips.append(("appealed: asks for people who have not judged it", "open"))
    if any(dispute.outcome is None for dispute in sheet.disputes):
        chips.append(("held by a dispute", "bad"))
    if any(dispute.outcome == "upheld" for dispute in sheet.disputes):
        chips.append(("barred by a dispute that was upheld", "bad"))
    chips += [(in_words(code), "open") for code in sheet.clip.count.codes]
    if facts.approvals < POLICY.approvals:
        chips.append((f"waits {sheet.age_hours:.0f} h{', overdue' if late else ''}", "bad" if late else "quiet"))
    return chips


def _numbers(sheet: Sheet) -> Html:
    """The people in it, as numbers that have to add up, and who may judge."""
    facts = sheet.clip.facts
    released = sum(r.identifiable and not r.against for r in sheet.releases if r.role in ("depicted", "guardian"))
    seen = max(facts.faces_max or 0, facts.persons_counted or 0)
    fits = facts.faces_max is not None and seen <= released + facts.non_identifiable
    verdict_text = (
        "nobody is seen beyond those" if fits else "more people are seen than have agreed or cannot be recognised"
    )
    if facts.faces_max is None:
        verdict_text = "no detector looked at it: it cannot be used, whoever approves it"
    cards = [
        ("faces in one frame, by the detector", "?" if facts.faces_max is None else facts.faces_max),
        ("people counted by reviewers, at most", "–" if facts.persons_counted is None else facts.persons_counted),
        ("people who have released it", released),
        ("not recognisable, by two organisations", facts.non_identifiable),
    ]
    numbers = joined(*(tag("div", joined(tag("b", number), tag("span", name)), "card") for name, number in cards))
    judges = ", ".join(sheet.may_judge) or "nobody on the register"
    return joined(
        tag("div", numbers, "cards"),
        tag("p", joined(chip("adds up" if fits else "does not add up", "good" if fits else "bad"), " ", verdict_text)),
        tag("p", joined(tag("span", "May judge it now: ", "quiet"), judges)),
    )


def _releases(sheet: Sheet) -> Html:
    property_of = {owned["owner_id"]: owned.get("what") or "property" for owned in sheet.clip.properties}
    rows = []
    for release in sheet.releases:
        if not release.party_id:
            continue
        if not release.identifiable:
            state, detail = chip("said to be unrecognisable", "quiet"), "two reviewers have to agree"
        elif not release.against:
            state, detail = chip("released", "good"), ", ".join(sorted(release.covering))
        else:
            state, detail = chip("not released", "bad"), ", ".join(map(in_words, sorted(release.against)))
        part = PARTS.get(release.role) or f"owner of {property_of.get(release.party_id, 'property')}"
        rows.append((release.party_id, part, state, detail))
    return table(("who", "as", "", "on the ground of"), rows, "The delivery names nobody.")


def _declared(sheet: Sheet) -> Html:
    """What the contributor declares beside what was found, where something was."""
    declared, measured = sheet.clip.declared, sheet.media
    size = f"{declared['width']}x{declared['height']}" if declared.get("width") else None
    checks = {row["check"]: row for row in sheet.verdicts}
    compared = [
        ("subject", declared.get("subject"), "you decide", None),
        ("location", declared.get("location"), _value(checks, "location"), checks.get("location")),
        ("time of day", declared.get("time_of_day"), _value(checks, "time_of_day"), checks.get("time_of_day")),
        ("resolution", size, _size(measured), checks.get("resolution")),
        ("aspect ratio", declared.get("aspect_ratio"), _value(checks, "aspect_ratio"), checks.get("aspect_ratio")),
        ("length in s", declared.get("duration_s"), measured.get("duration_s"), checks.get("length")),
        ("captured at", declared.get("captured_at"), None, None),
        ("position", _position(declared), None, None),
        ("device", declared.get("device"), None, None),
        ("source", declared.get("source_name"), None, None),
        ("licence", declared.get("source_licence"), None, None),
    ]
    rows = [
        (name, shown(claim), shown(seen), verdict(row) if row else "")
        for name, claim, seen, row in compared
        if claim is not None
    ]
    return table(("", "declared", "measured", ""), rows, "Nothing is declared.")


def _failed(verdicts: Iterable[dict[str, Any]]) -> Html:
    rows = [
        (row["check"], verdict(row), row["severity"], row["reason"] or "", row["detail"] or row["value"])
        for row in verdicts
        if row["verdict"] != "pass"
    ]
    return table(("check", "", "severity", "code", "what was found"), rows, "All checks passed.")


def _duplicates(sheet: Sheet) -> Html:
    rows = [
        (
            code(row["clip_id"][:16]),
            row["item_id"][:16],
            row["kind"],
            shown(row["distance"]),
            row["reason"] or "original",
        )
        for row in sheet.duplicates
    ]
    return table(("clip", "file", "kind", "distance", ""), rows if len(rows) > 1 else [], "No other clip shows it.")


def _rounds(sheet: Sheet) -> Html:
    """Every judgement ever given, void ones too, with all reasons."""
    rows = []
    for review in sheet.clip.reviews:
        why_not = sheet.clip.count.why_not.get(review.id)
        reasons = [joined(code(name), " ", in_words(name)) for name in review.reasons]
        rows.append(
            (
                tag("span", lines([text(review.reviewer_id), tag("span", review.organisation, "quiet")]), "whole"),
                f"{review.round}",
                chip(review.verdict, "good" if review.verdict == "approve" else "bad"),
                lines(reasons),
                f"{review.persons_counted} / {review.non_identifiable}",
                _time(review.reviewed_at),
                chip(in_words(why_not), "quiet") if why_not else "counts",
            )
        )
    names = ("reviewer", "round", "", "all reasons", "people / unrecognisable", "when", "")
    return table(names, rows, "Nobody has judged it yet.")


def _disputes(sheet: Sheet) -> Html:
    rows = [
        (
            code(dispute.dispute_id),
            dispute.party_id,
            joined(code(dispute.reason), " ", in_words(dispute.reason)),
            _time(dispute.opened_at),
            chip(dispute.outcome or "open", "good" if dispute.outcome == "dismissed" else "bad"),
        )
        for dispute in sheet.disputes
    ]
    return table(("dispute", "by", "because", "opened", ""), rows, "Nobody objects.")


def _footer(sheet: Sheet) -> Html:
    clip, seen = sheet.clip.facts.clip_id[:16], sheet.digest[:16]
    commands = (
        f"rushes review approve {clip} --seen {seen} --reviewer NAME --persons N",
        f"rushes review reject {clip} --seen {seen} --reviewer NAME --persons N --reason CODE --reason CODE",
        f"rushes review dispute {clip} --reason CODE --party WHO --key FILE",
    )
    rest = f"frames {sheet.clip.start_frame} to {sheet.clip.end_frame - 1} of file {sheet.clip.facts.item_id}"
    source = joined("bytes ", code(sheet.clip.facts.bytes_sha256), " · ", rest)
    return joined(section("Judge it", tag("p", lines(code(command) for command in commands))), tag("footer", source))


def _value(checks: dict[str, dict[str, Any]], name: str) -> str | None:
    return checks[name]["value"] if name in checks else None


def _size(media: dict[str, Any]) -> str | None:
    return f"{media['width']}x{media['height']}" if media.get("width") else None


def _position(declared: dict[str, Any]) -> str | None:
    both = declared.get("latitude"), declared.get("longitude")
    return None if None in both else "{:.5f}, {:.5f}".format(*both)


def _time(text: str) -> Html:
    return tag("span", text.replace("T", " ").replace("Z", " UTC"), "whole")
