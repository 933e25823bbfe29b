"""The command line: one function a command, its docstring the help, its imports inside so that --help is instant."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.listing import print_csv, print_json, print_table, short

if TYPE_CHECKING:
    import optuna
    from optuna.storages import BaseStorage
    from sqlalchemy.engine import URL

    from hpo.study import StudyDefinition

app = typer.Typer(
    name="hpo",
    help="Hyperparameter search for Keras models: launch a study, watch it, export the winner.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data = typer.Typer(help="Look at data sets.", no_args_is_help=True)
app.add_typer(data, name="data")

Study = Annotated[str, typer.Option("--study", help="The stored study's name.")]
Storage = Annotated[
    str | None,
    typer.Option(help="sqlite:///FILE or postgresql://USER@HOST/NAME; else HPO_STORAGE, else the file in HPO_HOME."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def launch(
    study: Annotated[str, typer.Option(help="A study's name, FILE.py, or FILE.py:NAME.")],
    storage: Storage = None,
    name: Annotated[str | None, typer.Option(help="Run it under another name, as a study of its own.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials in all, earlier launches included.")] = None,
    max_epochs: Annotated[int | None, typer.Option(min=1, help="The most epochs of one trial.")] = None,
    subset: Annotated[int | None, typer.Option(min=1, help="Use this many of the training images.")] = None,
    workers: Annotated[str, typer.Option(help="How many worker processes, or auto.")] = "auto",
    gpus: Annotated[str, typer.Option(help="all, none, or indices such as 0,1.")] = "all",
    workers_per_gpu: Annotated[int, typer.Option(min=1, help="Worker processes on each GPU.")] = 1,
    max_failures: Annotated[int, typer.Option(min=1, help="End after this many failed trials in a row.")] = 5,
    amend: Annotated[bool, typer.Option("--amend", help="Accept a changed definition where that is safe.")] = False,
) -> None:
    """Search: run a study's trials in worker processes until its budget has ended. Again continues it."""
    from hpo import devices
    from hpo.launch import launch as run
    from hpo.progress import duration, progress
    from hpo.run_dir import RunDir
    from hpo.storage import resolve_url

    run_dir = RunDir.from_environment()
    url = resolve_url(storage, run_dir)
    definition = _definition(study, url).with_overrides(name=name, trials=trials, max_epochs=max_epochs, subset=subset)
    slots = devices.slots(workers=_count(workers), gpus=gpus, workers_per_gpu=workers_per_gpu)
    with progress(definition.metric if definition.objective is None else "value") as show:
        done = run(definition, url, run_dir, slots, show=show, amend=amend, max_failures=max_failures)
    status = done.status
    if done.ran == 0:
        print(f"Nothing to run: all {status.budget} trials of {status.name} are done. More with --trials.")
    else:
        print(f"{done.ran} trials in this launch; {status.finished} of {status.budget} done.")
    if status.best is not None:
        print(f"Best trial of {status.name}: {status.best.number}, value {status.best.value:.4f}")
        for parameter, value in status.best.params.items():
            print(f"  {parameter} = {value:.6g}" if isinstance(value, float) else f"  {parameter} = {value}")
        print(f"Search time: {duration(status.seconds)}")
    elsewhere = f" --storage {storage}" if storage else ""
    print("Next:")
    if definition.objective is None:
        print(f"  hpo export --study {status.name} --output best.h5{elsewhere}")
    print(f"  hpo trials --study {status.name}{elsewhere}")
    print(f"  hpo dashboard{elsewhere}")


@app.command()
def worker(
    study: Study,
    storage: Storage = None,
    with_launcher: Annotated[bool, typer.Option("--with-launcher", hidden=True)] = False,
) -> None:
    """Join a launched study from any shell or machine, and run its trials until its budget has ended."""
    import logging
    import os

    from hpo.devices import Slot
    from hpo.run_dir import RunDir
    from hpo.storage import open_storage, resolve_url
    from hpo.worker import stop_with_launcher, work

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if with_launcher:
        stop_with_launcher()
    run_dir = RunDir.from_environment()
    slot = Slot.from_environment()
    # Before anything imports a backend, which reads them then.
    os.environ.update(slot.environment())
    ran = work(open_storage(resolve_url(storage, run_dir), write=True), study, run_dir, slot)
    print(f"The budget of {study} has ended; this worker ran {ran} trials.")


@app.command()
def studies(storage: Storage = None, as_json: AsJson = False) -> None:
    """List the studies that can be launched, and how far the stored ones are."""
    from hpo import catalog, results

    stored = {status.name: status for status in results.overview(opened)} if (opened := _reader(storage)) else {}
    known = {study.name: study for study in catalog.available()}
    rows = [
        {
            "name": name,
            "trials": stored[name].finished if name in stored else 0,
            "budget": stored[name].budget if name in stored else known[name].budget.trials,
            "best": stored[name].best.value if name in stored and stored[name].best else None,  # type: ignore[union-attr]
            "description": known[name].description if name in known else "",
        }
        for name in sorted(known.keys() | stored.keys())
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(rows)


@app.command()
def status(study: Study, storage: Storage = None, as_json: AsJson = False) -> None:
    """Show where a study stands: its budget, its trials by state, the best, and who works on it."""
    from hpo import results
    from hpo.progress import summary

    now = results.status(_stored(study, storage))
    if as_json:
        print_json(now.as_json())
        return
    print(f"{now.name}: {summary(now, 'value')}")
    if now.workers:
        print_table(now.workers)


@app.command()
def trials(
    study: Study,
    storage: Storage = None,
    as_json: AsJson = False,
    output_format: Annotated[str, typer.Option("--format", help="table or csv.")] = "table",
) -> None:
    """List every trial: parameters, value, epochs, seconds and why it stopped."""
    from hpo import results
    from hpo.errors import UsageError

    if output_format not in ("table", "csv"):
        raise UsageError(f"--format must be table or csv, but got {output_format!r}.")
    rows = results.trials(_stored(study, storage))
    if as_json:
        print_json([row.as_json() for row in rows])
        return
    if output_format == "csv":
        print_csv([row.as_json() for row in rows])
        return
    columns = ("number", "state", "value", "epochs", "best_epoch", "seconds", "stop_reason")
    print_table([{**{name: getattr(row, name) for name in columns}, "params": short(row.params)} for row in rows])


@app.command()
def best(study: Study, storage: Storage = None, as_json: AsJson = False) -> None:
    """Show the best trial."""
    from hpo import results

    row = results.best(_stored(study, storage))
    if as_json:
        print_json(row.as_json())
        return
    print(f"Trial {row.number}: value {row.value:.4f}")
    for name, value in row.params.items():
        print(f"  {name} = {value:.6g}" if isinstance(value, float) else f"  {name} = {value}")
    if row.epochs is not None:
        print(f"  {row.epochs} epochs, the best was {row.best_epoch}")
    print(f"  {row.seconds} s; {row.stop_reason}")


@app.command()
def export(
    study: Study,
    output: Annotated[Path, typer.Option(help="The .h5 file to write; .keras and .json go beside it.")],
    storage: Storage = None,
    trial: Annotated[int | None, typer.Option(min=0, help="Another trial than the best.")] = None,
    no_retrain: Annotated[bool, typer.Option("--no-retrain", help="Take the trial's own best weights.")] = False,
    as_json: AsJson = False,
) -> None:
    """Retrain the best trial on all training images, measure it once on the test images, and save a proven model."""
    import os

    from hpo.devices import Slot, import_backend
    from hpo.export import export as run
    from hpo.noise import silenced
    from hpo.run_dir import RunDir

    os.environ.update(Slot.from_environment().environment())
    stored, say = _stored(study, storage), (lambda message: None) if as_json else print
    with silenced():
        import_backend()
        exported = run(stored, RunDir.from_environment(), output, number=trial, retrain=not no_retrain, announce=say)
    card = exported.card
    if as_json:
        print_json(card)
        return
    metrics = card["metrics"]
    print(f"Trial {card['trial']} of {card['study']}, weights {card['weights']}, {card['epochs']} epochs.")
    print(f"Test accuracy {metrics['test_accuracy']:.4f}, test loss {metrics['test_loss']:.4f}, read once.")
    print(f"Wrote {exported.h5}, {exported.keras} and {exported.card_path}; both models reload without hpo and agree.")
    print(f"Next:\n  hpo evaluate {exported.h5}")


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="A .h5 or .keras file.")],
    dataset: Annotated[str | None, typer.Option(help="A data set, if the model's card names none.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure a saved model on the test images: accuracy, precision, recall, F1, confusion matrix."""
    import os

    from hpo.devices import Slot, import_backend
    from hpo.evaluate import evaluate_file
    from hpo.noise import silenced
    from hpo.run_dir import RunDir

    os.environ.update(Slot.from_environment().environment())
    with silenced():
        import_backend()
        measured = evaluate_file(model, run_dir=RunDir.from_environment(), dataset=dataset)
    if as_json:
        print_json(measured.as_json())
        return
    from rich.console import Console

    from hpo.evaluation_view import render

    Console().print(render(measured))


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="A .h5 or .keras file.")],
    images: Annotated[list[Path], typer.Argument(help="Photos of any size or colour mode.")],
    invert: Annotated[bool, typer.Option("--invert", help="For dark objects on a light ground.")] = False,
    as_json: AsJson = False,
) -> None:
    """Name what is on photos: class and probability."""
    import os

    from hpo.devices import Slot, import_backend
    from hpo.noise import silenced
    from hpo.predict import predict_files

    os.environ.update(Slot.from_environment().environment())
    with silenced():
        import_backend()
        predictions = predict_files(model, images, invert=invert)
    if as_json:
        print_json([prediction.as_json() for prediction in predictions])
        return
    for prediction in predictions:
        print(f"{prediction.path}: {prediction.class_name} ({prediction.probability:.1%})")
        if prediction.warning:
            print(f"  warning: {prediction.warning}", file=sys.stderr)


@app.command()
def dashboard(
    storage: Storage = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8080,
    token: Annotated[
        str | None, typer.Option(envvar="HPO_DASHBOARD_TOKEN", help="The password in its address; else a random one.")
    ] = None,
    writable: Annotated[bool, typer.Option("--writable", help="Allow changes, such as deleting a study.")] = False,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
) -> None:
    """Browse all studies of the storage in optuna-dashboard; read-only unless asked."""
    import secrets
    import webbrowser

    from hpo.dashboard import serve
    from hpo.run_dir import RunDir
    from hpo.storage import open_storage, resolve_url

    run_dir = RunDir.from_environment()
    opened = open_storage(resolve_url(storage, run_dir), write=writable)

    def announce(url: str) -> None:
        print(f"optuna-dashboard: {url}\nCtrl-C ends it.", flush=True)
        if not no_browser:
            webbrowser.open(url)

    serve(
        opened,
        host=host,
        port=port,
        token=token or secrets.token_urlsafe(16),
        writable=writable,
        artifacts=run_dir.artifacts,
        on_ready=announce,
    )


@data.command("show")
def data_show(
    dataset: Annotated[str, typer.Option(help="A data set's name or a .npz or .npy file.")],
    output: Annotated[Path, typer.Option(help="The .png file to write.")],
) -> None:
    """Draw the first training images with their classes."""
    from hpo import datasets
    from hpo.run_dir import RunDir

    loaded = datasets.load(dataset, run_dir=RunDir.from_environment())
    datasets.grid(loaded, output)
    print(
        f"{output}: the first images of {loaded.name}; {len(loaded.train.labels)} train, "
        f"{len(loaded.validation.labels)} validation, {loaded.num_classes} classes"
    )


def _definition(study: str, url: "URL") -> "StudyDefinition":
    """The definition that ``study`` names: one in a file, else one that the storage has under that name."""
    from hpo import catalog, stored_study
    from hpo.errors import StorageError, StudyChanged, StudyError
    from hpo.storage import open_storage

    try:
        return catalog.load(study)
    except StudyError as unknown:
        try:
            return stored_study.stored_definition(stored_study.load(open_storage(url, write=False), study))
        except StudyChanged:
            raise
        except (StudyError, StorageError):
            raise unknown from None


def _stored(study: str, storage: str | None) -> "optuna.Study":
    from hpo import stored_study
    from hpo.run_dir import RunDir
    from hpo.storage import open_storage, resolve_url

    return stored_study.load(open_storage(resolve_url(storage, RunDir.from_environment()), write=False), study)


def _reader(storage: str | None) -> "BaseStorage | None":
    """The storage to read; None where the default one has not been made yet."""
    import os

    from hpo.run_dir import RunDir
    from hpo.storage import open_storage, resolve_url

    run_dir = RunDir.from_environment()
    if not storage and not os.environ.get("HPO_STORAGE") and not run_dir.database.exists():
        return None
    return open_storage(resolve_url(storage, run_dir), write=False)


def _count(workers: str) -> int | None:
    from hpo.errors import UsageError

    if workers == "auto":
        return None
    if not workers.isdecimal() or int(workers) < 1:
        raise UsageError(f"--workers must be auto or a whole number of at least 1, but got {workers!r}.")
    return int(workers)
