"""An explained clip as one page: frames over its time, curves of its signals, and every check with its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from assets.curation.policy.policy import Policy
from assets.curation.reports.explain import Explanation
from assets.pages.html import Html, chip, code, joined, lines, page, section, shown, table, tag, text, verdict
from assets.pages.stills import Still, gallery

WIDTH, HEIGHT = 380, 120  # of a curve, in its own units
CURVES = {  # name, unit and the top of the axis, where it is always the same
    "luma_mean": ("light", "mean luma", 1.0),
    "motion_diag_per_s": ("motion", "frame diagonals per second", None),
    "sharpness": ("sharpness", "variance of the Laplacian at 256 px", None),
}


def render(found: Explanation, policy: Policy, stills: Sequence[Still]) -> str:
    """The page. `stills` are the clip's frames, empty where nothing may be shown."""
    name = f"{found.clip['file_name']}, shot {found.clip['shot_index']}"
    body = joined(
        _header(found, name),
        gallery(stills) if stills else tag("p", found.pictures or "The file shows no frame of this clip.", "lead"),
        section("Over its time", _curves(found, policy)) if found.curves else "",
        section("Every check", _checks(found.checks)),
        section("Declared against measured", _declared(found.declared)),
        section("The same footage elsewhere", _duplicates(found)),
        section("What a model may be told", _captions(found.captions)),
        section("May it be used?", _eligibility(found.eligibility)),
        _footer(found),
    )
    return page(name, body)


def _header(found: Explanation, name: str) -> Html:
    clip = found.clip
    said = {True: ("good", "good"), False: ("refused", "bad"), None: ("not decided yet", "open")}[found.good]
    chips = [said]
    chips += [(f"{row['check']}: {row['reason']}", "bad") for row in found.checks if row["blocks"]]
    chips += [("withdrawn", "bad")] if found.withdrawn else []
    chips += [(found.duplicate_kind, "quiet")] if found.duplicate_kind else []
    if found.decided_by and found.decided_by != found.policy:
        chips.append((f"decided by {found.decided_by}; {found.policy} decides now: rushes curate replay", "open"))
    where = f"{clip['start_s']:.2f} to {clip['end_s']:.2f} s · frames {clip['start_frame']} to {clip['end_frame'] - 1}"
    ended = "to the end of the file" if clip["boundary"] == "end" else f"ended by a {clip['boundary']}"
    return joined(
        tag("header", joined(tag("p", f"Explained · {clip['received_day']}", "kicker"), tag("h1", name))),
        tag("p", f"{where} · {ended}", "lead"),
        tag("p", joined(*(chip(said, kind) for said, kind in chips)), "chips"),
        tag("p", joined("clip ", code(clip["clip_id"]), f" · by {clip['contributor_id'] or '?'}")),
    )


def _checks(rows: Sequence[dict[str, Any]]) -> Html:
    found = [
        (
            lines([tag("b", row["check"]), tag("span", row["asks"], "quiet")]),
            verdict(row),
            joined(shown(row["value"]), " ", tag("span", row["unit"], "quiet")),
            shown(row["threshold"]),
            lines([text(row["severity"]), code(row["reason"] or "")]),
            row["detail"],
            (row["check_version"] or "").rpartition("-")[2],
        )
        for row in rows
    ]
    return table(("check", "", "value", "asked", "severity", "what was found", "version"), found, "No check is known.")


def _declared(rows: Sequence[dict[str, Any]]) -> Html:
    found = [
        (
            row["field"],
            shown(row["declared"]),
            shown(row["measured"]),
            verdict(row) if row["verdict"] else "",
            row["detail"],
        )
        for row in rows
    ]
    return table(("", "declared", "measured", "", ""), found, "Nothing is declared.")


def _duplicates(found: Explanation) -> Html:
    rows = [
        (code(row["clip_id"][:16]), row["item_id"], row["kind"], shown(row["distance"]), row["reason"] or "")
        for row in found.duplicates
    ]
    none = "No other clip shows it." if found.duplicate_kind else "Duplicates have not been looked for yet."
    return table(("clip", "file", "kind", "distance", ""), rows, none)


def _captions(rows: Sequence[dict[str, Any]]) -> Html:
    found = [
        (
            row["kind"],
            row["text"],
            lines(joined(tag("span", one["source"], "quiet"), " ", one["clause"]) for one in row["sources"]),
            row["captioner"],
        )
        for row in rows
    ]
    return table(("", "caption", "clauses with their sources", "by"), found, "Nothing is told of it.")


def _eligibility(rows: Sequence[dict[str, Any]]) -> Html:
    found = [
        (
            row["purpose"],
            chip("eligible", "good") if row["eligible"] else chip("not eligible", "bad"),
            lines(joined(code(one["code"]), " ", one["says"]) for one in row["reasons"]),
            ", ".join(row["consent_ids"]),
        )
        for row in rows
    ]
    return table(("to", "", "reasons against it", "rests on consents"), found, "Not decided yet: the default is no.")


def _curves(found: Explanation, policy: Policy) -> Html:
    length = found.clip["end_s"] - found.clip["start_s"]
    figures = [
        _curve(CURVES[name], points, length, _bound(policy, name))
        for name, points in found.curves.items()
        if name in CURVES and len(points) > 1
    ]
    return tag("div", joined(*figures), "cards curves") if figures else tag("p", "Too short to draw.", "quiet")


def _bound(policy: Policy, column: str) -> float | None:
    """The least that the policy asks of a signal."""
    return next((check.low for check in policy.checks if check.column == column), None)


def _curve(
    drawn_as: tuple[str, str, float | None], points: list[list[float]], length: float, bound: float | None
) -> Html:
    """One signal over the clip's time as SVG, from nought upwards, with the threshold where the policy has one."""
    name, unit, top = drawn_as
    most = top or 1.08 * max(bound or 0.0, *(value for _, value in points)) or 1.0
    end = max(length, points[-1][0]) or 1.0

    def at(second: float, value: float) -> str:
        return f"{WIDTH * second / end:.1f},{HEIGHT * (1 - value / most):.1f}"

    drawn = f'<polyline class="curve" points="{" ".join(at(*point) for point in points)}"/>'
    if bound is not None:
        level = HEIGHT * (1 - bound / most)
        drawn += f'<line class="bound" x1="0" x2="{WIDTH}" y1="{level:.1f}" y2="{level:.1f}"/>'
    svg = Html(f'<svg viewBox="-2 -2 {WIDTH + 4} {HEIGHT + 4}" preserveAspectRatio="none" role="img">{drawn}</svg>')
    asked = "" if bound is None else f" · at least {bound:g} asked"
    said = tag("span", f"0 to {end:.1f} s · 0 to {most:.3g} {unit}{asked}")
    return tag("div", joined(tag("span", name), svg, said), "card")


def _footer(found: Explanation) -> Html:
    clip = found.clip
    said = f"file {clip['item_id']} of {clip['delivery_id']} · decided by {found.decided_by or 'nothing yet'} · bytes "
    return tag("footer", joined(said, code(clip["bytes_sha256"])))
