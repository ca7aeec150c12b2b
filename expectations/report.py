"""Makes a Great Expectations report stand alone: nothing in it is fetched from elsewhere and nobody is told it was opened.

The pages as generated load styles and scripts from public hosts, and a logo whose address names the project. Here they
get one small style sheet instead, and the index leads straight to the validation result.
"""

from __future__ import annotations

import re
from pathlib import Path

_REMOTE = re.compile(
    r"<link\b[^>]*href=\"https?://[^>]*>|<script\b[^>]*src=\"https?://[^>]*>\s*</script>"
    r"|<img\b[^>]*src=\"https?://[^>]*>|<footer\b.*?</footer>",
    re.DOTALL,
)
_STYLE = """<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; margin: 2rem auto; max-width: 70rem; padding: 0 1rem }
table { border-collapse: collapse; margin: .5rem 0 1rem }
td, th { border: 1px solid #d8dee6; padding: .3rem .6rem; text-align: left }
h4, h5, h6 { font-size: 1rem; margin: 1.5rem 0 .3rem }
a { color: #2f6f9f }
ol.breadcrumb, nav ul { list-style: none; padding: 0 }
nav li { display: inline-block; margin-right: .8rem }
.alert-danger, .failed { color: #c0392b }
button, input, .cooltip-text { display: none }
</style>"""


def stand_alone(site: Path) -> Path:
    """Rewrite every page below `site` in place; the validation result's page, relative to `site`."""
    for page in site.rglob("*.html"):
        text = _REMOTE.sub("", page.read_text(encoding="utf-8"))
        page.write_text(text.replace("</head>", f"{_STYLE}</head>", 1), encoding="utf-8")
    result = sorted((site / "validations").rglob("*.html"))[-1].relative_to(site)
    (site / "index.html").write_text(
        f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={result.as_posix()}">'
        f'<a href="{result.as_posix()}">Validation result</a>\n',
        encoding="utf-8",
    )
    return result
