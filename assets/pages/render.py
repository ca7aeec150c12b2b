"""Pages from the templates in `templates/`: HTML that a browser opens by itself, and Markdown.

An HTML page asks for nothing else (no script, no request), prints, and follows light and dark. All text is escaped, and
control characters are shown as escapes, whatever people wrote into a description. A `.md` template is plain text.
`base.html` is the frame of an HTML page, `macros.html` has what pages share.
"""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, pass_eval_context, select_autoescape
from jinja2.nodes import EvalContext
from markupsafe import Markup

from assets.reasons import in_words, printable

LONGEST = 2000  # characters of one value on an HTML page


def render(template: str, **values: Any) -> str:
    """The page `template` with these values."""
    return environment.get_template(template).render(**values)


def shown(value: Any) -> str:
    """A value of a table's cell; a dash for none."""
    return "–" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


@pass_eval_context
def _printed(context: EvalContext, value: Any) -> Any:
    """What a page shows of a value: in HTML nothing for None, and no text that is endless or invisible."""
    if not context.autoescape or isinstance(value, Markup):
        return value
    return "" if value is None else printable(str(value), LONGEST)


environment = Environment(
    loader=PackageLoader("assets.pages"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    finalize=_printed,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
environment.filters |= {"shown": shown, "in_words": in_words}
