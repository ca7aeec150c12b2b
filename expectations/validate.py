"""Runs a suite over a frame and says what it found, in plain Python; writes the HTML report where it is asked to.

Frames only: Great Expectations' SQL path reports every expectation over DuckDB as failed. An expectation that could not
be computed is an error here and never a quiet failure.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from expectations.report import stand_alone

if TYPE_CHECKING:
    import pandas as pd

SUITES = ("deliveries", "media", "signals", "snapshot")
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
    name: str, df: pd.DataFrame, data_docs: Path | None = None, columns: Mapping[str, str] | None = None
) -> ValidationOutcome:
    """Validate `df` with the suite `name`; with `data_docs` also replace the HTML report in `data_docs/<name>`.
    `columns` are descriptions of columns, which the report's page of the suite shows.

    Raises KeyError for an unknown suite and ExpectationError where an expectation could not be computed.
    """
    if name not in SUITES:
        raise KeyError(f"no suite {name!r}; there are {', '.join(SUITES)}")
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    module = importlib.import_module(f"expectations.{name}")
    frame = module.prepare(df) if hasattr(module, "prepare") else df
    expectations = _suite(module, columns or {})
    if data_docs is None:
        result, page = _run(name, frame, module.KEY, expectations, None), None
    else:
        result, page = _with_report(name, frame, module.KEY, expectations, data_docs)
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


def _with_report(
    name: str, df: pd.DataFrame, key: tuple[str, ...], expectations: list[Any], data_docs: Path
) -> tuple[Any, Path]:
    """Run in a project of its own beside the report, then put the finished report in place of the old one."""
    data_docs.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=data_docs, prefix=".project-") as project:
        result = _run(name, df, key, expectations, Path(project))
        site = next(Path(project).glob("gx/uncommitted/data_docs/local_site"))
        stand_alone(site)
        report = data_docs / name
        with (data_docs / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another run may finish its report at the same moment
            if report.exists():
                report.rename(Path(project) / "old")
            site.rename(report)
    return result, report / "index.html"


def _suite(module: ModuleType, columns: Mapping[str, str]) -> list[Any]:
    import great_expectations.expectations as gxe

    expectations: list[Any] = module.suite(gxe)
    for expectation in expectations:
        expectation.notes = columns.get(getattr(expectation, "column", ""))
    return expectations


def _run(name: str, df: pd.DataFrame, key: tuple[str, ...], expectations: list[Any], project: Path | None) -> Any:
    import great_expectations as gx
    from great_expectations.checkpoint import UpdateDataDocsAction

    actions: list[Any] = [UpdateDataDocsAction(name="write_data_docs")] if project else []
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
        actions=actions,
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
    kwargs = config.kwargs
    column = kwargs.get("column") or ", ".join(
        kwargs.get("column_list") or filter(None, (kwargs.get("column_A"), kwargs.get("column_B")))
    )
    observed = result.get("observed_value")
    return Failure(
        expectation=config.type,
        column=column,
        severity=str(getattr(config.severity, "value", config.severity)),
        unexpected_count=result.get("unexpected_count"),
        examples=tuple(
            ", ".join(f"{name} {value}" for name, value in sorted(row.items()))
            for row in result.get("partial_unexpected_index_list") or []
        ),
        observed=None if observed is None else str(observed),
    )
