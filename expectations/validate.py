"""Runs a suite over a frame and returns the failures in plain Python; writes the HTML report where it is asked to.

Frames only: Great Expectations' SQL path reports every expectation over DuckDB as failed. An expectation that could not
be computed is an error here and never a quiet failure.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expectations.suites import SUITES, Suite, Words

if TYPE_CHECKING:
    import pandas as pd

EXAMPLES = 5


class ExpectationError(RuntimeError):
    """An expectation could not be computed, so nothing is known about what it guards."""


@dataclass(frozen=True)
class Failure:
    """One expectation that does not hold: how many values are unexpected, and some of them with the key of their row."""

    expectation: str
    column: str
    severity: str
    unexpected_count: int | None
    examples: tuple[str, ...]
    observed: str | None = None


@dataclass(frozen=True)
class ValidationOutcome:
    """`max_severity` is that of the worst failure: critical, warning, info, or None where all holds."""

    name: str
    success: bool
    max_severity: str | None
    statistics: dict[str, Any]
    failures: tuple[Failure, ...]
    docs_path: Path | None

    @property
    def critical(self) -> bool:
        return self.max_severity == "critical"


def validate(
    name: str, df: pd.DataFrame, words: Words, data_docs: Path | None = None, columns: Mapping[str, str] | None = None
) -> ValidationOutcome:
    """Validate `df` with the suite `name`; with `data_docs` also replace the HTML report in `data_docs/<name>`.

    `words` are the closed lists of words by dimension; `columns` are descriptions of columns for the report's page of the
    suite. Raises KeyError for an unknown suite and ExpectationError where an expectation could not be computed.
    """
    if name not in SUITES:
        raise KeyError(f"no suite {name!r}; there are {', '.join(SUITES)}")
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    suite = SUITES[name](words)
    frame, expectations, page = suite.prepare(df), _expectations(suite, columns or {}), None
    if data_docs is None:
        result = _run(name, frame, suite.key, expectations, None)
    else:
        data_docs.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=data_docs, prefix=".project-") as project:
            result = _run(name, frame, suite.key, expectations, Path(project))
            page = _publish(Path(project), data_docs / name)
    _refuse_exceptions(name, result)
    severity = result.get_max_severity_failure()
    return ValidationOutcome(
        name=name,
        success=bool(result.success),
        max_severity=getattr(severity, "value", severity),
        statistics=dict(result.statistics),
        failures=tuple(_failure(item) for item in result.results if not item.success),
        docs_path=page,
    )


def _expectations(suite: Suite, columns: Mapping[str, str]) -> list[Any]:
    import great_expectations.expectations as gxe

    return [
        getattr(gxe, expectation)(**arguments, severity=severity, notes=columns.get(arguments.get("column", "")))
        for severity in ("critical", "warning", "info")
        for expectation, arguments in getattr(suite, severity)
    ]


def _run(name: str, df: pd.DataFrame, key: tuple[str, ...], expectations: list[Any], project: Path | None) -> Any:
    import great_expectations as gx
    from great_expectations.checkpoint import UpdateDataDocsAction

    context: Any = (
        gx.get_context(mode="file", project_root_dir=str(project)) if project else gx.get_context(mode="ephemeral")
    )
    context.variables.progress_bars = {"globally": False}
    batch = context.data_sources.add_pandas(name).add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
    suite = context.suites.add(gx.ExpectationSuite(name=name, expectations=expectations))
    definition = context.validation_definitions.add(gx.ValidationDefinition(name=name, data=batch, suite=suite))
    checkpoint = gx.Checkpoint(
        name=name,
        validation_definitions=[definition],
        actions=[UpdateDataDocsAction(name="write_data_docs")] if project else [],
        result_format={
            "result_format": "SUMMARY",
            "unexpected_index_column_names": list(key),
            "partial_unexpected_count": EXAMPLES,
        },
    )
    run = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": df})
    return next(iter(run.run_results.values()))


def _refuse_exceptions(name: str, result: Any) -> None:
    for item in result.results:
        info = item.exception_info or {}
        for exception in [info] if "raised_exception" in info else info.values():
            if exception.get("raised_exception"):
                raise ExpectationError(
                    f"{name}: {item.expectation_config.type} could not be computed: {exception.get('exception_message')}"
                )


def _failure(item: Any) -> Failure:
    config, result = item.expectation_config, item.result or {}
    columns = [config.kwargs.get(name) for name in ("column", "column_A", "column_B")]
    observed = result.get("observed_value")
    return Failure(
        expectation=config.type,
        column=", ".join(config.kwargs.get("column_list") or filter(None, columns)),
        severity=str(getattr(config.severity, "value", config.severity)),
        unexpected_count=result.get("unexpected_count"),
        examples=tuple(
            ", ".join(f"{name} {value}" for name, value in sorted(row.items()))
            for row in result.get("partial_unexpected_index_list") or []
        ),
        observed=None if observed is None else str(observed),
    )


# -- the report ---------------------------------------------------------------------------------------------------------

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


def _publish(project: Path, report: Path) -> Path:
    """Put the finished report of the project in place of the old one; its first page."""
    site = next(project.glob("gx/uncommitted/data_docs/local_site"))
    stand_alone(site)
    with (report.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may finish its report at the same moment
        if report.exists():
            report.rename(project / "old")
        site.rename(report)
    return report / "index.html"


def stand_alone(site: Path) -> Path:
    """Rewrite every page below `site`, so that it loads nothing from elsewhere; returns the page of the result.

    The pages as generated load styles, scripts and a logo from public hosts. Here they get one small style sheet instead,
    and the index leads straight to the validation result.
    """
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
