"""Self-contained HTML pages from small pieces: no script, no request, light and dark, printable.

What belongs here: the pieces and how they look. Text is escaped by default: only what a page's own module marks as
`Html` is markup, whatever people wrote into a description.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from assets.reasons import printable


class Html(str):
    """Markup that a page's module wrote; every other text is escaped when it is put on the page."""


def page(title: str, body: Html) -> str:
    """A whole page."""
    return _PAGE.format(title=text(title), style=_STYLE, body=body)


def text(value: Any) -> Html:
    return value if isinstance(value, Html) else Html(escape(printable("" if value is None else str(value), 2000)))


def joined(*parts: Any) -> Html:
    return Html("".join(text(part) for part in parts))


def tag(name: str, inner: Any, kind: str = "") -> Html:
    opening = f'{name} class="{kind}"' if kind else name
    return Html(f"<{opening}>{text(inner)}</{name}>")


def lines(parts: Iterable[Html]) -> Html:
    return Html("<br>".join(parts))


def code(value: Any) -> Html:
    return tag("code", value)


def chip(text: Any, kind: str) -> Html:
    return tag("span", text, f"chip {kind}")


def section(title: str, inner: Html) -> Html:
    return tag("section", joined(tag("h2", title), inner))


def table(names: Sequence[str], rows: Sequence[Sequence[Any]], none: str) -> Html:
    if not rows:
        return tag("p", none, "quiet")
    head = tag("tr", joined(*(tag("th", name) for name in names)))
    body = joined(*(tag("tr", joined(*(tag("td", cell) for cell in row))) for row in rows))
    return tag("div", tag("table", joined(tag("thead", head), tag("tbody", body))), "wide")


def verdict(row: Mapping[str, Any]) -> Html:
    """A check's verdict, as loud as its severity."""
    kind = {"pass": "good", "fail": "bad"}.get(row["verdict"], "open")
    return chip(row["verdict"].replace("_", " "), "quiet" if row["severity"] == "info" and kind != "bad" else kind)


def shown(value: Any) -> str:
    """A value of a cell; a dash for none."""
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
.curves { grid-template-columns:repeat(auto-fit, minmax(300px, 1fr)); } .curves .card { background:transparent; }
svg { display:block; width:100%; height:120px; margin:8px 0 6px; border-left:1px solid var(--soft);
  border-bottom:1px solid var(--soft); }
.curve { fill:none; stroke:var(--accent); stroke-width:1.8; vector-effect:non-scaling-stroke; }
.bound { stroke:var(--bad); stroke-width:1.4; stroke-dasharray:5 4; vector-effect:non-scaling-stroke; }
@media print { body { background:#fff; } figure, section { break-inside:avoid; } }
"""
