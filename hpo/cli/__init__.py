"""The command line: one function a command, its docstring the help, its imports inside so that --help is instant."""

import typer

from hpo.cli import look, model, search

app = typer.Typer(
    name="hpo",
    help="Hyperparameter search for Keras models: launch a study, watch it, export the winner.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _command in (
    search.launch, search.worker,
    look.studies, look.status, look.trials, look.best, look.report, look.compare,
    model.export, model.evaluate, model.predict,
    look.dashboard,
):  # fmt: skip
    app.command()(_command)

data = typer.Typer(help="Look at data sets.", no_args_is_help=True)
data.command("show")(look.data_show)
app.add_typer(data, name="data")
