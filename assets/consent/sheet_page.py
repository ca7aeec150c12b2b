"""The contact sheet as one self-contained HTML page: no script, no request, light and dark, printable.

Belongs here: how things look. Text from outside is escaped by default: only what this module writes is markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from assets.consent.counting import POLICY
from assets.consent.reasons import in_words
from assets.consent.sheet import Picture, Release, Sheet
from assets.ingestion.reasons import printable
from assets.pictures import data_uri


class Html(str):
    """Markup that this module wrote; every other text is escaped when it is put on the page."""


def render(sheet: Sheet) -> str:
    """The page of a clip."""
    declared = sheet.clip.declared
    title = declared.get("subject") or "a clip without a description"
    body = _joined(
        _header(sheet, title),
        _numbers(sheet),
        _frames(sheet.pictures),
        _section("Who is in it, and who has agreed", _releases(sheet.releases)),
        _section("Declared against measured", _declared(sheet)),
        _section("Checks that did not pass", _failed(sheet.verdicts)),
        _section("The same footage elsewhere", _duplicates(sheet)),
        _section("Earlier judgements", _rounds(sheet)),
        _section("Disputes", _disputes(sheet)),
        _footer(sheet),
    )
    return _PAGE.format(title=_text(title), style=_STYLE, body=body)


# -- parts of the page -----------------------------------------------------------------------------------------------


def _header(sheet: Sheet, title: str) -> Html:
    facts, declared = sheet.clip.facts, sheet.clip.declared
    asked = f"for {sheet.request['org_id']}: {sheet.request['title']}" if sheet.request else "for the catalogue"
    where = " · ".join(str(part) for part in (declared.get("location"), declared.get("time_of_day")) if part)
    return _joined(
        _tag("header", _joined(_tag("p", _joined("Review · ", asked), "kicker"), _tag("h1", title))),
        _tag("p", where, "lead"),
        _tag("p", _joined(*(_chip(text, kind) for text, kind in _states(sheet))), "chips"),
        _tag(
            "p",
            _joined("clip ", _code(facts.clip_id), f" · shot {facts.shot_index} · by ", facts.contributor_id or "?"),
        ),
    )


def _states(sheet: Sheet) -> list[tuple[str, str]]:
    facts, late = sheet.clip.facts, sheet.age_hours > POLICY.sla_hours
    found = [(f"{facts.approvals} of {POLICY.approvals} approvals", "good" if facts.approvals >= 2 else "open")]
    if facts.rejections:
        found.append((f"rejected by {facts.rejections}", "bad"))
    if sheet.appealed:
        found.append(("appealed: asks for people who have not judged it", "open"))
    if any(dispute.outcome is None for dispute in sheet.disputes):
        found.append(("held by a dispute", "bad"))
    if any(dispute.outcome == "upheld" for dispute in sheet.disputes):
        found.append(("barred by a dispute that was upheld", "bad"))
    found += [(in_words(code), "open") for code in sheet.clip.count.codes]
    if facts.approvals < POLICY.approvals:
        found.append((f"waits {sheet.age_hours:.0f} h{', overdue' if late else ''}", "bad" if late else "quiet"))
    return found


def _numbers(sheet: Sheet) -> Html:
    """The people in it, as numbers that have to add up, and who may judge."""
    facts = sheet.clip.facts
    released = sum(r.covered and r.identifiable for r in sheet.releases if r.part in ("person", "minor"))
    seen = max(facts.faces_max or 0, facts.persons_counted or 0)
    fits = facts.faces_max is not None and seen <= released + facts.non_identifiable
    said = "nobody is seen beyond those" if fits else "more people are seen than have agreed or cannot be recognised"
    if facts.faces_max is None:
        said = "no detector looked at it: it cannot be used, whoever approves it"
    cards = [
        ("faces in one frame, by the detector", "?" if facts.faces_max is None else facts.faces_max),
        ("people counted by reviewers, at most", "–" if facts.persons_counted is None else facts.persons_counted),
        ("people who have released it", released),
        ("not recognisable, by two organisations", facts.non_identifiable),
    ]
    numbers = _joined(*(_tag("div", _joined(_tag("b", number), _tag("span", name)), "card") for name, number in cards))
    judges = ", ".join(sheet.may_judge) or "nobody on the register"
    return _joined(
        _tag("div", numbers, "cards"),
        _tag("p", _joined(_chip("adds up" if fits else "does not add up", "good" if fits else "bad"), " ", said)),
        _tag("p", _joined(_tag("span", "May judge it now: ", "quiet"), judges)),
    )


def _frames(pictures: Sequence[Picture]) -> Html:
    figures = []
    for picture in pictures:
        boxes = _joined(*(_box(face) for face in picture.faces or ()))
        image = Html(f'<img alt="frame {picture.index}" src="{data_uri(picture.webp)}">')
        seen = "" if not picture.faces else f" · {len(picture.faces)} face{'s' if len(picture.faces) > 1 else ''}"
        when = "no time given" if picture.pts_s is None else f"{picture.pts_s:.6f} s"
        caption = _tag("figcaption", f"frame {picture.index} · {when}{seen}")
        figures.append(_tag("figure", _joined(_tag("div", _joined(image, boxes), "picture"), caption)))
    return (
        _tag("div", _joined(*figures), "frames")
        if figures
        else _tag("p", "The file shows no frame of this clip.", "quiet")
    )


def _box(face: Sequence[float]) -> Html:
    left, top, width, height = (f"{100 * side:.2f}%" for side in face[:4])
    style = f"left:{left};top:{top};width:{width};height:{height}"
    return Html(f'<i class="face" style="{style}" title="confidence {face[4]:.2f}"></i>')


def _releases(releases: Sequence[Release]) -> Html:
    rows = []
    for one in releases:
        if not one.identifiable:
            state, detail = _chip("said to be unrecognisable", "quiet"), "two reviewers have to agree"
        elif one.covered:
            state, detail = _chip("released", "good"), ", ".join(one.consent_ids)
        else:
            state, detail = _chip("not released", "bad"), ", ".join(map(in_words, one.codes))
        rows.append((one.party_id, one.part, state, detail))
    return _table(("who", "as", "", "on the ground of"), rows, "The delivery names nobody.")


def _declared(sheet: Sheet) -> Html:
    """What the contributor declares beside what was found, where something was."""
    declared, measured = sheet.clip.declared, sheet.media
    size = f"{declared['width']}x{declared['height']}" if declared.get("width") else None
    checks = {row["check"]: row for row in sheet.verdicts}
    found = [
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
        (name, _shown(said), _shown(seen), _verdict(row) if row else "")
        for name, said, seen, row in found
        if said is not None
    ]
    return _table(("", "declared", "measured", ""), rows, "Nothing is declared.")


def _failed(verdicts: Iterable[dict[str, Any]]) -> Html:
    rows = [
        (row["check"], _verdict(row), row["severity"], row["reason"] or "", row["detail"] or row["value"])
        for row in verdicts
        if row["verdict"] != "pass"
    ]
    return _table(("check", "", "severity", "code", "what was found"), rows, "All checks passed.")


def _duplicates(sheet: Sheet) -> Html:
    rows = [
        (
            _code(row["clip_id"][:16]),
            row["item_id"][:16],
            row["kind"],
            _shown(row["distance"]),
            row["reason"] or "original",
        )
        for row in sheet.duplicates
    ]
    return _table(("clip", "file", "kind", "distance", ""), rows if len(rows) > 1 else [], "No other clip shows it.")


def _rounds(sheet: Sheet) -> Html:
    """Every judgement ever given, void ones too, with all reasons."""
    rows = []
    for review in sheet.clip.reviews:
        why_not = sheet.clip.count.why_not.get(review.id)
        reasons = [_joined(_code(code), " ", in_words(code)) for code in review.reasons]
        rows.append(
            (
                _tag("span", _lines([_text(review.reviewer_id), _tag("span", review.organisation, "quiet")]), "whole"),
                f"{review.round}",
                _chip(review.verdict, "good" if review.verdict == "approve" else "bad"),
                _lines(reasons),
                f"{review.persons_counted} / {review.non_identifiable}",
                _time(review.reviewed_at),
                _chip(in_words(why_not), "quiet") if why_not else "counts",
            )
        )
    names = ("reviewer", "round", "", "all reasons", "people / unrecognisable", "when", "")
    return _table(names, rows, "Nobody has judged it yet.")


def _disputes(sheet: Sheet) -> Html:
    rows = [
        (
            _code(dispute.dispute_id),
            dispute.party_id,
            _joined(_code(dispute.reason), " ", in_words(dispute.reason)),
            _time(dispute.opened_at),
            _chip(dispute.outcome or "open", "good" if dispute.outcome == "dismissed" else "bad"),
        )
        for dispute in sheet.disputes
    ]
    return _table(("dispute", "by", "because", "opened", ""), rows, "Nobody objects.")


def _footer(sheet: Sheet) -> Html:
    clip, seen = sheet.clip.facts.clip_id[:16], sheet.digest[:16]
    commands = (
        f"rushes review approve {clip} --seen {seen} --reviewer NAME --persons N",
        f"rushes review reject {clip} --seen {seen} --reviewer NAME --persons N --reason CODE --reason CODE",
        f"rushes review dispute {clip} --reason CODE --party WHO --key FILE",
    )
    lines = _lines(_code(command) for command in commands)
    rest = f"frames {sheet.clip.start_frame} to {sheet.clip.end_frame - 1} of file {sheet.clip.facts.item_id}"
    source = _joined("bytes ", _code(sheet.clip.facts.bytes_sha256), " · ", rest)
    return _joined(_section("Judge it", _tag("p", lines)), _tag("footer", source))


# -- pieces of markup ------------------------------------------------------------------------------------------------


def _text(value: Any) -> Html:
    return value if isinstance(value, Html) else Html(escape(printable("" if value is None else str(value), 2000)))


def _joined(*parts: Any) -> Html:
    return Html("".join(_text(part) for part in parts))


def _tag(name: str, inner: Any, kind: str = "") -> Html:
    opening = f'{name} class="{kind}"' if kind else name
    return Html(f"<{opening}>{_text(inner)}</{name}>")


def _lines(parts: Iterable[Html]) -> Html:
    return Html("<br>".join(parts))


def _code(value: Any) -> Html:
    return _tag("code", value)


def _chip(text: Any, kind: str) -> Html:
    return _tag("span", text, f"chip {kind}")


def _section(title: str, inner: Html) -> Html:
    return _tag("section", _joined(_tag("h2", title), inner))


def _table(names: Sequence[str], rows: Sequence[Sequence[Any]], none: str) -> Html:
    if not rows:
        return _tag("p", none, "quiet")
    head = _tag("tr", _joined(*(_tag("th", name) for name in names)))
    body = _joined(*(_tag("tr", _joined(*(_tag("td", cell) for cell in row))) for row in rows))
    return _tag("div", _tag("table", _joined(_tag("thead", head), _tag("tbody", body))), "wide")


def _verdict(row: dict[str, Any]) -> Html:
    kind = {"pass": "good", "fail": "bad"}.get(row["verdict"], "open")
    return _chip(row["verdict"].replace("_", " "), "quiet" if row["severity"] == "info" and kind != "bad" else kind)


def _value(checks: dict[str, dict[str, Any]], name: str) -> str | None:
    return checks[name]["value"] if name in checks else None


def _size(media: dict[str, Any]) -> str | None:
    return f"{media['width']}x{media['height']}" if media.get("width") else None


def _position(declared: dict[str, Any]) -> str | None:
    both = declared.get("latitude"), declared.get("longitude")
    return None if None in both else "{:.5f}, {:.5f}".format(*both)


def _time(text: str) -> Html:
    return _tag("span", text.replace("T", " ").replace("Z", " UTC"), "whole")


def _shown(value: Any) -> str:
    return "–" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""

_STYLE = """
:root { --ink:#1c2630; --soft:#5b6875; --line:#dfe4ea; --page:#f6f7f9; --card:#ffffff; --accent:#2f6f9f;
  --good:#1d7a46; --good-bg:#e3f4ea; --bad:#b3261e; --bad-bg:#fde8e6; --open:#8a5a00; --open-bg:#fdf1d8; }
@media (prefers-color-scheme: dark) { :root { --ink:#e6ebf0; --soft:#97a3b0; --line:#2c3640; --page:#12171c;
  --card:#1a2128; --accent:#7ab8e6; --good:#7fd6a4; --good-bg:#15321f; --bad:#ff9c94; --bad-bg:#3c1815;
  --open:#f0c36a; --open-bg:#382a0b; } }
* { box-sizing:border-box; }
body { margin:0; background:var(--page); color:var(--ink);
  font:15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width:1280px; margin:0 auto; padding:32px 28px 48px; }
p { margin:6px 0; } h1 { font-size:30px; line-height:1.2; margin:2px 0; letter-spacing:-.01em; }
h2 { font-size:16px; margin:0 0 10px; }
.kicker { color:var(--accent); font-weight:600; } .lead { font-size:17px; color:var(--soft); }
.quiet { color:var(--soft); } .whole { white-space:nowrap; } .chips { margin:12px 0; }
code { font:12.5px/1.4 ui-monospace, "SF Mono", Menlo, Consolas, monospace; overflow-wrap:anywhere; }
.chip { display:inline-block; padding:1px 10px; margin:2px 6px 2px 0; border-radius:999px; font-size:13px;
  background:var(--line); color:var(--ink); }
.chip.good { background:var(--good-bg); color:var(--good); } .chip.bad { background:var(--bad-bg); color:var(--bad); }
.chip.open { background:var(--open-bg); color:var(--open); } .chip.quiet { color:var(--soft); }
.cards { display:grid; grid-template-columns:repeat(auto-fit, minmax(190px, 1fr)); gap:12px; margin:20px 0 10px; }
.card { background:var(--card); border:1px solid var(--line); border-radius:12px; padding:12px 16px; }
.card b { display:block; font-size:26px; line-height:1.2; } .card span { color:var(--soft); font-size:13px; }
.frames { display:grid; grid-template-columns:repeat(auto-fill, minmax(280px, 1fr)); gap:14px; margin:22px 0; }
figure { margin:0; background:var(--card); border:1px solid var(--line); border-radius:12px; overflow:hidden; }
.picture { position:relative; line-height:0; } .picture img { width:100%; height:auto; }
.face { position:absolute; border:2px solid #ffb020; border-radius:4px; box-shadow:0 0 0 1px rgba(0,0,0,.55); }
figcaption { padding:7px 12px; font-size:12.5px; color:var(--soft); font-variant-numeric:tabular-nums; }
section { background:var(--card); border:1px solid var(--line); border-radius:12px; padding:18px 20px; margin:14px 0; }
.wide { overflow-x:auto; } table { border-collapse:collapse; width:100%; font-size:14px; }
th { text-align:left; font-weight:600; color:var(--soft); font-size:12.5px; }
th, td { padding:7px 14px 7px 0; border-bottom:1px solid var(--line); vertical-align:top; }
tbody tr:last-child td { border-bottom:0; }
footer { color:var(--soft); font-size:12.5px; margin-top:18px; overflow-wrap:anywhere; }
@media print { body { background:#fff; } figure, section { break-inside:avoid; } }
"""
