"""hpo from Python: launch a study, and ask a stored one."""

from pathlib import Path
from typing import TYPE_CHECKING

import optuna

from hpo.cli.progress import progress
from hpo.devices.slots import slots
from hpo.errors import UsageError
from hpo.files.run_dir import RunDir, expanded
from hpo.results.status import StudyStatus, status_of
from hpo.results.trials import TrialRecord, best_of, trials_of
from hpo.storage import stored_study
from hpo.storage.database import open_storage
from hpo.storage.url import resolve_url
from hpo.study import catalog
from hpo.study.budget import MAX_FAILURES, is_whole
from hpo.study.comparison import Comparison
from hpo.study.found import FoundStudy, Study
from hpo.study.live import found_live
from hpo.study.search import Search

if TYPE_CHECKING:
    import pandas as pd

    from hpo.saved_model.export import Exported


class StoredStudy:
    """A study in a storage, as `launch` and `load_study` give it; each question reads the storage anew."""

    def __init__(self, study: optuna.Study, storage: str | None, known: FoundStudy | None = None) -> None:
        self._study = study
        self._storage = storage
        self._known = known

    @property
    def name(self) -> str:
        """The study's name."""
        return self._study.study_name

    @property
    def optuna(self) -> optuna.Study:
        """The Optuna study, for every function of Optuna's."""
        return self._study

    @property
    def best(self) -> TrialRecord:
        """The best trial.

        Raises:
            StudyError: no trial has finished with a value.
        """
        return best_of(self._study)

    def status(self) -> StudyStatus:
        """Where the study stands: its budget, its trials by state, the best, who works on it."""
        return status_of(self._study)

    def trials(self) -> list[TrialRecord]:
        """Every trial, in order of number."""
        return trials_of(self._study)

    def to_frame(self) -> "pd.DataFrame":
        """Every trial as a row of a pandas DataFrame, each parameter as a column ``params.NAME``; no curves.

        Raises:
            ImportError: pandas is not installed.
        """
        import pandas as pd

        rows = [trial.as_json() for trial in self.trials()]
        for row in rows:
            row.pop("history")
            row |= {f"params.{name}": value for name, value in row.pop("params").items()}
        return pd.DataFrame(rows)

    def export(
        self,
        output: str | Path,
        *,
        trial: int | None = None,
        retrain: bool = True,
        file: str | None = None,
        force: bool = False,
    ) -> "Exported":
        """Retrain a trial on all training images, measure it once on the test images, and save a proven model.

        Args:
            output: the ``.h5`` file to write, with ``.keras`` and ``.card.json`` beside it; or ``.keras``.
            trial: its number; None for the best.
            retrain: False takes the trial's own best weights.
            file: where the study's code is on this machine; None looks for it.
            force: replace files that no export wrote.

        Raises:
            HpoError: as `hpo.saved_model.export.export`.
        """
        from hpo.saved_model.export import export

        place = expanded(str(output))
        exported = export(
            self._study,
            RunDir.from_environment(),
            place,
            number=trial,
            retrain=retrain,
            file=file,
            known=self._known,
            force=force,
            announce=print,
        )
        record = {name: exported.card[name] for name in ("trial", "metrics")}
        _open(self.name, self._storage, write=True).set_user_attr("exported", record)
        return exported

    def __repr__(self) -> str:
        return f"<hpo study {self.name!r}: {self.status().done} trials>"


def launch(
    study: Study | str,
    *,
    storage: str | None = None,
    name: str | None = None,
    trials: int | None = None,
    seconds: float | None = None,
    total_epochs: int | None = None,
    target: float | None = None,
    patience: int | None = None,
    max_epochs: int | None = None,
    subset: int | None = None,
    workers: int | None = None,
    gpus: str = "all",
    workers_per_gpu: int = 1,
    max_failures: int = MAX_FAILURES,
    max_retries: int | None = None,
    trial_timeout: float | None = None,
    check_export: bool = True,
    amend: bool = False,
) -> StoredStudy:
    """Run a study's trials in worker processes until its budget has ended, as `hpo launch` does; again continues it.

    Args:
        study: an `hpo.Search` or `hpo.Comparison`, or what ``--study`` of `hpo launch` takes. The code of one that was
            made in Python reaches the workers of this call alone: no other process can join.
        storage: ``sqlite:///FILE`` or ``postgresql://USER@HOST/NAME``; None takes ``HPO_STORAGE``, else the file in
            ``HPO_HOME``.
        seconds: in all, earlier launches included, as ``--timeout`` of `hpo launch`.
        workers: how many worker processes; None for one per GPU, else as many as the cores carry.

    The other arguments are the options of `hpo launch`.

    Raises:
        HpoError: as the command says it; `hpo.errors` has the tree. A second interrupt kills the workers.
    """
    from hpo.workers.launch import launch as run

    if not isinstance(study, Search | Comparison | str):
        raise UsageError(f"`study` must be an hpo.Search, an hpo.Comparison or a text, but got {study!r}.")
    for option, value in {"workers": workers, "workers_per_gpu": workers_per_gpu, "max_failures": max_failures}.items():
        if not is_whole(value, at_least=1) and (option, value) != ("workers", None):
            raise UsageError(f"`{option}` must be a whole number of at least 1, but got {value!r}.")
    run_dir = RunDir.from_environment()
    url = resolve_url(storage, run_dir)
    found = (catalog.load(study) if isinstance(study, str) else found_live(study)).with_overrides(
        name=name,
        trials=trials,
        seconds=seconds,
        total_epochs=total_epochs,
        target=target,
        patience=patience,
        max_epochs=max_epochs,
        subset=subset,
        trial_timeout=trial_timeout,
        max_retries=max_retries,
    )
    chosen = slots(workers=workers, gpus=gpus, workers_per_gpu=workers_per_gpu)
    with progress(found.definition.metric) as show:
        run(
            found,
            url,
            run_dir,
            chosen,
            show=show,
            amend=amend,
            max_failures=max_failures,
            check_export=check_export,
        )
    return StoredStudy(_open(found.name, storage), storage, found)


def load_study(name: str, *, storage: str | None = None) -> StoredStudy:
    """The stored study of that name, to read.

    Args:
        storage: as for `launch`.

    Raises:
        StudyError, StorageError: there is none.
    """
    return StoredStudy(_open(name, storage), storage)


def _open(name: str, storage: str | None, *, write: bool = False) -> optuna.Study:
    return stored_study.load(open_storage(resolve_url(storage, RunDir.from_environment()), write=write), name)
