"""Commands that show studies, trials, reports, the dashboard and data."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from hpo.cli.options import AsJson, Force, Storage, Study, open_study, opened, path, reader
from hpo.cli.tables import print_csv, print_json, print_table
from hpo.text import figure_text, one_line, params_text, value_text


def studies(storage: Storage = None, as_json: AsJson = False) -> None:
    """List the studies that can be launched or are stored, and how many of their trials are done."""
    from hpo.results.status import overview
    from hpo.study import catalog
    from hpo.study.budget import limited

    stored = {status.name: status for status in overview(there)} if (there := reader(storage)) else {}
    available, broken = catalog.available()
    known = {study.name: study for study in available}
    rows = [
        {
            "name": name,
            "trials": stored[name].finished if name in stored else 0,
            "budget": limited(stored[name].budget if name in stored else known[name].definition.trials),
            "best": stored[name].best.value if name in stored and stored[name].best else None,  # type: ignore[union-attr]
            "description": known[name].written.description if name in known else "",
        }
        for name in sorted(known.keys() | stored.keys())
    ]
    if as_json:
        print_json(rows)
    else:
        print_table(rows)
    for line in broken:
        print(f"Not listed: {one_line(line)}", file=sys.stderr if as_json else sys.stdout)


def status(study: Study, storage: Storage = None, as_json: AsJson = False) -> None:
    """Show where a study stands: its budget, its trials by state, the best, who works on it, its size on disk."""
    from hpo.cli.progress import limits_line, summary
    from hpo.files.run_dir import RunDir
    from hpo.results.disk import disk_bytes
    from hpo.results.status import status_of

    stored = open_study(study, storage)
    now, taken = status_of(stored), disk_bytes(stored, RunDir.from_environment())
    if as_json:
        print_json({**now.as_json(), "disk_bytes": taken})
        return
    print(f"{one_line(now.name)}: {summary(now, 'value')}")
    print(limits_line(now))
    print(f"On this machine's disk: {taken / 1e6:.1f} MB, without the storage.")
    if now.workers:
        print_table(now.workers)


def trials(
    study: Study,
    storage: Storage = None,
    as_json: AsJson = False,
    output_format: Annotated[str, typer.Option("--format", help="table or csv.")] = "table",
) -> None:
    """List every trial: parameters, value, epochs, seconds and why it stopped."""
    from hpo.errors import UsageError
    from hpo.results.trials import trials_of

    if output_format not in ("table", "csv"):
        raise UsageError(f"--format must be table or csv, but got {output_format!r}.")
    rows = trials_of(open_study(study, storage))
    if as_json:
        print_json([row.as_json() for row in rows])
        return
    if output_format == "csv":
        print_csv([row.as_json() for row in rows])
        return
    columns = ("number", "state", "value", "epochs", "best_epoch", "seconds", "stop_reason")
    shown = [row.as_json() for row in rows]
    print_table([{**{name: row[name] for name in columns}, "params": params_text(row["params"], " ")} for row in shown])
    for row in rows:
        if row.result.failure is not None:
            print(one_line(f"Trial {row.number} failed ({row.result.stop_reason}): {row.result.failure}"))


def best(study: Study, storage: Storage = None, as_json: AsJson = False) -> None:
    """Show the best trial."""
    from hpo.results.trials import best_of

    row = best_of(open_study(study, storage))
    if as_json:
        print_json(row.as_json())
        return
    print(f"Trial {row.number}: value {figure_text(row.value)}")
    for name, value in row.params.items():
        print(f"  {one_line(name)} = {value_text(value)}")
    fit = row.result.fit
    if fit.epochs is not None:
        print(f"  {fit.epochs} epochs, the best was {fit.best_epoch}")
    if row.result.stop_reason is not None:  # otherwise another program ran it
        print("  " + one_line(f"{fit.seconds} s; {row.result.stop_reason}"))


def report(
    study: Annotated[list[str], typer.Option(help="A stored study's name; give it several times for one document.")],
    storage: Storage = None,
    output_format: Annotated[str, typer.Option("--format", help="md (Markdown).")] = "md",
    output: Annotated[
        Path | None, typer.Option(parser=path, help="The file to write; the sections of other studies in it stay.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the mean and deviation of each setting of a comparison, and what others reported.

    For a search it shows the best ten trials.
    """
    from hpo.errors import UsageError
    from hpo.files.writing import replacing
    from hpo.results.repeats import settings
    from hpo.results.report import document, markdown

    if output_format != "md":
        raise UsageError(f"--format must be md, but got {output_format!r}. --json prints the same as JSON.")
    stored = [open_study(name, storage) for name in study]
    if as_json:
        print_json({each.study_name: [row.as_json() for row in settings(each)] for each in stored})
        return
    if output is None:
        print("\n".join(map(markdown, stored)), end="")
        return
    try:
        text = document(stored, output.read_text(encoding="utf-8", errors="replace") if output.exists() else "")
        with replacing(output) as temporary:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError(
            f"--output must be a file that can be written, but {output} is not: {error.strerror}."
        ) from None
    print(f"Wrote {output}.")


def compare(
    studies: Annotated[list[str], typer.Argument(help="Names of stored studies.")],
    storage: Storage = None,
    as_json: AsJson = False,
) -> None:
    """Compare the best of each study: accuracy, loss, precision, recall, F1, parameters, training seconds."""
    from hpo.results.repeats import best_setting

    rows = [best_setting(open_study(name, storage)) for name in studies]
    if as_json:
        print_json(rows)
        return
    print_table([{name: value for name, value in row.items() if name != "measured_on"} for row in rows])
    if searches := [row["study"] for row in rows if row["measured_on"] == "validation"]:
        names = one_line(", ".join(searches))
        print(f"On validation images: {names}. `hpo export` measures a search's best on the test images.")


def dashboard(
    storage: Storage = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 picks a free one.")] = 8080,
    token: Annotated[
        str | None, typer.Option(envvar="HPO_DASHBOARD_TOKEN", help="The token in its address; else a random one.")
    ] = None,
    writable: Annotated[bool, typer.Option("--writable", help="Allow changes, such as deleting a study.")] = False,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
) -> None:
    """Browse all studies of the storage in optuna-dashboard; read-only unless asked."""
    import secrets
    import webbrowser

    from hpo.files.run_dir import RunDir
    from hpo.web.dashboard import serve

    stored = opened(storage, write=writable)

    def announce(url: str) -> None:
        print(f"optuna-dashboard: {url}\nCtrl-C ends it.", flush=True)
        if not no_browser:
            webbrowser.open(url)

    serve(
        stored,
        host=host,
        port=port,
        token=token or secrets.token_urlsafe(16),
        writable=writable,
        artifacts=RunDir.from_environment().artifacts,
        on_ready=announce,
    )


def data_show(
    dataset: Annotated[str, typer.Option(help="A data set's name or a .npz or .npy file.")],
    output: Annotated[Path, typer.Option(parser=path, help="The .png file to write.")],
    force: Force = False,
) -> None:
    """Draw the first training images with their classes."""
    from hpo import datasets
    from hpo.files.output import check_output
    from hpo.files.run_dir import RunDir

    check_output(output, datasets.is_grid, force=force)
    loaded = datasets.load(dataset, run_dir=RunDir.from_environment())
    datasets.grid(loaded, output)
    print(
        f"{output}: the first images of {loaded.name}; {len(loaded.train.labels)} train, "
        f"{len(loaded.validation.labels)} validation, {loaded.num_classes} classes"
    )
