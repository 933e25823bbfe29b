"""The command line. Each command is one function, and its docstring is the help.

Functions import what they need inside, so that ``--help`` is fast.
"""

from typing import Annotated

import typer

from hpo.cli import launch, look, model


def _version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        print(f"hpo {version('hpo')}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version, and nothing else.")
    ] = False,
) -> None:
    pass  # the callback has done it


app = typer.Typer(
    name="hpo",
    help="Hyperparameter search for Keras models: launch a study, watch it, export the winner.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    callback=_options,
)
for _command in (
    launch.launch, launch.worker,
    look.studies, look.status, look.trials, look.best, look.report, look.compare,
    model.export, model.evaluate, model.predict,
    look.dashboard,
):  # fmt: skip
    app.command()(_command)

data = typer.Typer(help="Look at data sets.", no_args_is_help=True)
data.command("show")(look.data_show)
app.add_typer(data, name="data")
