"""`rushes demo` and `rushes ui`: the whole graph on the sample world, and the two UIs."""

from __future__ import annotations

import typer

from orchestration.settings import Settings


def register(app: typer.Typer) -> None:
    app.command()(demo)
    app.command()(ui)


def demo() -> None:
    """Build the sample world, run the whole graph on it through Dagster, and sum up what came out."""
    from orchestration.demo.run import run_demo

    run_demo(Settings.from_env())


def ui() -> None:
    """Start Dagster's UI and daemon and MLflow's UI on loopback; stop them with Ctrl-C."""
    from orchestration.session import serve

    serve(Settings.from_env())
