"""The `saiki` command: wires the verbs together and turns the library's errors into two plain lines."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from saiki import __version__
from saiki.cli import (
    answer,
    demo,
    evaluate,
    fit,
    forecast,
    generate,
    inspect,
    lr_range,
    predict,
    report,
    summary,
    tag,
    transcribe,
    translate,
    update,
)
from saiki.cli.console import complain, silence_warnings
from saiki.core.errors import OptionError, SaikiError, UsageError

app = typer.Typer(
    name="saiki",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Recurrent sequence models: train, look inside, forecast. Results go to stdout, talk to stderr.",
)
app.add_typer(fit.app, name="fit")
app.add_typer(lr_range.app, name="lr-range")
app.command("answer")(answer.answer)
app.command("evaluate")(evaluate.evaluate)
app.command("forecast")(forecast.forecast)
app.command("generate")(generate.generate)
app.command("predict")(predict.predict)
app.command("inspect")(inspect.inspect)
app.command("report")(report.report)
app.command("transcribe")(transcribe.transcribe)
app.command("translate")(translate.translate)
app.command("update")(update.update)
app.command("tag")(tag.tag)
app.command("summary")(summary.summary)
app.command("demo")(demo.demo)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"saiki {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    silence_warnings()


def main() -> None:
    """Entry point. Exit code 0: done; 1: the work failed; 2: usage (an unknown option); 130: interrupted."""
    # Threads that wait for each other at every small step should sleep, not spin: on a busy machine a fit
    # then takes a fraction of the time. OpenMP reads it when torch is loaded; the user's own setting stands.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except (UsageError, OptionError) as error:
        complain(error)
        sys.exit(2)
    except SaikiError as error:
        complain(error)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our stdout went away, as `head` does
        sys.stderr.close()
        sys.exit(0)


if __name__ == "__main__":
    main()
