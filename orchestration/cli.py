"""The `rushes` command: every everyday act in one place. Each group of commands is a module of `orchestration.commands`.

Errors that a person can mend end as one line on stderr and exit code 1; anything else is a bug and shows its traceback.
"""

from __future__ import annotations

import sys

import typer

from orchestration.commands import consent, curate, models, pipeline, proofs, requests, reviews
from orchestration.commands.shared import ERRORS_TO_SHOW, message_of, plain, stderr
from orchestration.settings import be_quiet

app = typer.Typer(
    name="rushes",
    help="From a request for footage to a registered video model, with the standing consent of everyone in every frame.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(requests.app, name="request")
app.add_typer(consent.app, name="consent")
app.add_typer(reviews.app, name="review")
app.add_typer(curate.app, name="curate")
proofs.add_to(consent.app)
pipeline.register(app)
models.register(app)
proofs.register(app)


def main() -> None:
    be_quiet()
    try:
        app()
    except ERRORS_TO_SHOW as error:
        stderr.print(f"[bold red]rushes:[/] {plain(message_of(error), 4000)}", highlight=False, soft_wrap=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
