"""Commands that run trials: launch a study, join one."""

from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli.options import File, Storage, Study
from hpo.study.budget import MAX_FAILURES
from hpo.text import count_text, figure_text, value_text

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from hpo.study.found import FoundStudy
    from hpo.workers.launch import Launched


def launch(
    study: Annotated[str, typer.Option(help="A study's name, FILE.py, or FILE.py:NAME.")],
    storage: Storage = None,
    name: Annotated[str | None, typer.Option(help="Run it under another name, as a study of its own.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials in all, earlier launches included.")] = None,
    timeout: Annotated[
        str | None, typer.Option(help="Time in all, such as 90s, 30m or 2h; pauses between launches do not count.")
    ] = None,
    total_epochs: Annotated[int | None, typer.Option(min=1, help="Epochs in all, of all trials.")] = None,
    target: Annotated[float | None, typer.Option(help="End when a trial has reached this value.")] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="End when this many trials have not been better than the best.")
    ] = None,
    max_epochs: Annotated[int | None, typer.Option(min=1, help="The most epochs of one trial.")] = None,
    subset: Annotated[int | None, typer.Option(min=1, help="Use this many of the training images.")] = None,
    workers: Annotated[str, typer.Option(help="How many worker processes, or auto.")] = "auto",
    gpus: Annotated[str, typer.Option(help="all, none, or indices such as 0,1.")] = "all",
    workers_per_gpu: Annotated[int, typer.Option(min=1, help="Worker processes on each GPU.")] = 1,
    max_failures: Annotated[
        int, typer.Option(min=1, help="End after this many failed trials in a row.")
    ] = MAX_FAILURES,
    max_retries: Annotated[
        int | None, typer.Option(min=0, help="How often a configuration runs again after its worker died.")
    ] = None,
    trial_timeout: Annotated[
        float | None, typer.Option(min=1, help="Seconds after which a trial counts as hung and its process is killed.")
    ] = None,
    no_export_check: Annotated[
        bool, typer.Option("--no-export-check", help="Search even if no model of the study can be exported.")
    ] = False,
    amend: Annotated[
        bool,
        typer.Option("--amend", help="Accept a changed definition if that is safe, changed code, or fewer trials."),
    ] = False,
) -> None:
    """Search: run a study's trials in worker processes until its budget has ended. Again continues it."""
    from hpo.cli.durations import duration, seconds_of
    from hpo.cli.progress import ended_line, progress, stopping_line
    from hpo.devices.slots import slots as slots_here
    from hpo.files.run_dir import RunDir
    from hpo.storage.command import command, unsaid
    from hpo.storage.url import resolve_url
    from hpo.study.comparison import Comparison
    from hpo.study.task import Train
    from hpo.workers.launch import launch as run

    run_dir = RunDir.from_environment()
    url = resolve_url(storage, run_dir)
    found = _found(study, url).with_overrides(
        name=name,
        trials=trials,
        seconds=None if timeout is None else seconds_of(timeout),
        total_epochs=total_epochs,
        target=target,
        patience=patience,
        max_epochs=max_epochs,
        subset=subset,
        trial_timeout=trial_timeout,
        max_retries=max_retries,
    )
    slots = slots_here(workers=_count(workers), gpus=gpus, workers_per_gpu=workers_per_gpu)
    definition, task = found.definition, found.definition.task
    with progress(definition.metric) as show:
        done = run(
            found,
            url,
            run_dir,
            slots,
            show=show,
            amend=amend,
            max_failures=max_failures,
            check_export=not no_export_check,
        )
    status = done.status
    has_more = definition.is_sampled or status.budget < len(definition.plan())  # than a comparison lists
    if done.ran > 0 or status.ended_by == "space":
        _print_what_ran(done)
        if status.ended_by not in ("trials", None):
            print(ended_line(status))
    elif status.ended_by in ("trials", None):
        over = "" if status.finished <= status.budget else f", its budget: there are {status.finished}"
        more = " More with --trials." if has_more else ""
        print(f"Nothing to run: all {status.budget} trials of {status.name} are done{over}.{more}")
    else:
        print(f"Nothing to run. {ended_line(status)}")
    if status.best is not None:
        print(f"Best trial of {status.name}: {status.best.number}, value {figure_text(status.best.value)}")
        for parameter, value in status.best.params.items():
            print(f"  {parameter} = {value_text(value)}")
        print(f"Search time: {duration(status.seconds)}")
    if isinstance(task, Train):
        print(stopping_line(definition, task))
    print(f"Next{unsaid(url)}:")
    if isinstance(definition, Comparison):
        print("  " + command(url, "report", "--study", status.name))
    if isinstance(task, Train) and status.best is not None:
        print("  " + command(url, "export", "--study", status.name, "--output", "best.h5"))
    print("  " + command(url, "trials", "--study", status.name))
    print("  " + command(url, "dashboard"))


def worker(
    study: Study,
    storage: Storage = None,
    file: File = None,
    workers: Annotated[str | None, typer.Option(help="Run several worker processes: how many, or auto.")] = None,
    gpus: Annotated[str | None, typer.Option(help="all, none, or indices such as 0,1.")] = None,
    workers_per_gpu: Annotated[int | None, typer.Option(min=1, help="Worker processes on each GPU.")] = None,
    with_launcher: Annotated[bool, typer.Option("--with-launcher", hidden=True)] = False,
    handover: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Join a launched study from any shell or machine, and run its trials until its budget has ended."""
    import logging
    import os

    from hpo.devices.slots import Slot
    from hpo.files.run_dir import RunDir
    from hpo.storage.database import open_storage
    from hpo.storage.url import resolve_url
    from hpo.workers.handover import received
    from hpo.workers.own_process import stop_with_launcher
    from hpo.workers.worker import work

    if not with_launcher and (workers or gpus or workers_per_gpu):
        _join(study, storage, file, workers or "auto", gpus or "all", workers_per_gpu or 1)
        return
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    if with_launcher:
        stop_with_launcher()
    run_dir = RunDir.from_environment()
    slot = Slot.from_environment()
    # Before anything imports a backend, because it reads these variables then.
    os.environ.update(slot.environment())
    opened = open_storage(resolve_url(storage, run_dir), write=True, wait=with_launcher)
    known = None if handover is None else received(handover)
    ran = work(opened, study, run_dir, slot, file=file, known=known, is_watched=with_launcher)
    print(f"The budget of {study} has ended; this worker ran {count_text(ran, 'trial')}.")


def _join(study: str, storage: str | None, file: str | None, workers: str, gpus: str, workers_per_gpu: int) -> None:
    """Join with several workers, which are watched like those of a launch."""
    from hpo.cli.progress import progress
    from hpo.devices.slots import slots as slots_here
    from hpo.files.run_dir import RunDir
    from hpo.storage.url import resolve_url
    from hpo.workers.launch import join

    run_dir = RunDir.from_environment()
    slots = slots_here(workers=_count(workers), gpus=gpus, workers_per_gpu=workers_per_gpu)
    with progress("value") as show:
        done = join(study, resolve_url(storage, run_dir), run_dir, slots, show=show, file=file)
    _print_what_ran(done)


def _print_what_ran(done: "Launched") -> None:
    status = done.status
    print(f"{count_text(done.ran, 'trial')} in this launch; {status.done} done.")
    if status.budget < done.budget:
        print(f"Others have lowered the budget of {status.name} from {done.budget} to {status.budget} trials.")


def _found(study: str, url: "URL") -> "FoundStudy":
    """The study that ``study`` names: one in a file, else one in the storage."""
    from hpo.errors import StorageError, StudyError, UnknownStudy
    from hpo.storage import stored_study, study_code
    from hpo.storage.database import open_storage
    from hpo.study import catalog

    try:
        return catalog.load(study)
    except UnknownStudy as unknown:
        try:
            stored = stored_study.load(open_storage(url, write=False), study)
        except (StudyError, StorageError):
            raise unknown from None
        return study_code.found_here(stored)


def _count(workers: str) -> int | None:
    from hpo.errors import UsageError

    if workers == "auto":
        return None
    if not workers.isdecimal() or int(workers) < 1:
        raise UsageError(f"--workers must be auto or a whole number of at least 1, but got {workers!r}.")
    return int(workers)
