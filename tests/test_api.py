"""hpo from Python: in a script, in a notebook, beside the command line."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from command import Hpo
from optuna.distributions import FloatDistribution, IntDistribution

import hpo
from hpo.errors import StudyChanged, StudyError, UsageError

FACTOR = 2.0


def _doubled(x: float) -> float:
    return FACTOR * x


def score(params: dict[str, Any], trial: Any) -> float:
    trial.report(params["x"], 1)
    return _doubled(params["x"])


def search(**fields: Any) -> hpo.Search:
    space = {"x": FloatDistribution(0, 1)}
    given = {"name": "live", "task": score, "direction": "maximize", "space": space, "budget": hpo.Budget(trials=4)}
    return hpo.Search(**{**given, **fields})


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder, with its own storage."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HPO_STORAGE", raising=False)
    monkeypatch.setenv("HPO_HOME", str(tmp_path / "runs"))
    return tmp_path / "runs"


def test_a_study_made_in_python_runs_in_worker_processes() -> None:
    """Its functions and what they use reach the workers; again it continues, and nothing is left to do."""
    study = hpo.launch(search(), workers=2, gpus="none")
    assert study.status().done == "4 of 4"
    assert [trial.value for trial in study.trials()] == [2 * trial.params["x"] for trial in study.trials()]
    assert study.best.value == max(trial.value or 0 for trial in study.trials())
    workers = {trial.claim.worker for trial in study.trials() if trial.claim}
    assert f"-{os.getpid()}" not in "".join(workers)
    assert isinstance(study.optuna, optuna.Study)
    assert len(study.optuna.trials) == 4
    assert hpo.launch(search(), workers=1, gpus="none", trials=6).status().done == "6 of 6"
    assert repr(hpo.load_study("live")) == "<hpo study 'live': 6 of 6 trials>"


def test_a_worker_that_starts_afresh_has_the_study_still() -> None:
    """After many trials it replaces itself, to be rid of what TensorFlow keeps of each."""

    def growing(params: dict[str, Any], trial: Any) -> float:
        from hpo.workers import worker

        worker._GROWTH_BYTES = -(10**15)
        return 0.0

    study = hpo.launch(search(task=growing), workers=1, gpus="none")
    assert study.status().done == "4 of 4"
    [log] = (Path("runs") / "live" / "logs").glob("*.log")
    assert log.read_text().count("Starting afresh") >= 3


def test_no_other_process_can_join_it(hpo: Hpo) -> None:
    """Its code is nowhere in the storage; whoever tries is told so, in a line."""
    import hpo as package

    study = package.launch(search(), workers=1, gpus="none")
    assert "_doubled" not in json.dumps({k: v for k, v in study.optuna.user_attrs.items() if k != "code"})
    for command in (["worker"], ["export", "--output", "best.h5"]):
        answer = hpo(*command, "--study", "live", code=2, HPO_HOME=os.environ["HPO_HOME"])
        assert "hpo: Study 'live' was launched from Python: only the process that made it" in answer.stderr
        assert "Traceback" not in answer.stderr


def test_other_code_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a constant that a function uses through another: whoever edits a cell and runs it again is told."""
    hpo.launch(search(), workers=1, gpus="none")
    monkeypatch.setattr(sys.modules[__name__], "FACTOR", 3.0)
    with pytest.raises(StudyChanged, match=r"'live' has changed since its first launch: FACTOR in .* differs"):
        hpo.launch(search(), workers=1, gpus="none")


def test_what_cannot_be_handed_to_a_worker_is_refused() -> None:
    """Before anything runs."""
    import threading

    lock = threading.Lock()

    def locked(params: dict[str, Any], trial: Any) -> float:
        with lock:
            return 0.0

    with pytest.raises(StudyError, match=r"Study 'live' cannot be handed to worker processes \(TypeError: .*lock"):
        hpo.launch(search(task=locked), workers=1, gpus="none")


def test_an_error_is_that_of_the_command_line() -> None:
    """Caught like any other."""
    with pytest.raises(StudyError, match="No study is called 'fmnist-cn'"):
        hpo.launch("fmnist-cn")
    hpo.launch(search(), workers=1, gpus="none")
    with pytest.raises(StudyError, match=r"holds no study called 'liv'\. Did you mean live"):
        hpo.load_study("liv")
    with pytest.raises(StudyError, match="A study's name must be text, but got 5"):
        hpo.load_study(5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        pytest.param(lambda: hpo.launch(5), "`study` must be an hpo.Search, .* but got 5", id="no-study"),
        pytest.param(lambda: hpo.launch(hpo.Search), "`study` must be an hpo.Search, .* but got <class", id="class"),
        pytest.param(lambda: hpo.launch(search(), workers=0), "`workers` must be a whole number", id="no-worker"),
        pytest.param(lambda: hpo.launch(search(), workers="two"), "`workers` must be a whole number", id="text"),
        pytest.param(lambda: hpo.launch(search(), max_failures=0), "`max_failures` must be a whole", id="no-failure"),
        pytest.param(lambda: hpo.launch(search(), gpus="x"), "--gpus must be all, none or indices", id="gpus"),
    ],
)
def test_a_mistake_is_one_line(call: Callable[[], object], message: str) -> None:
    """Of the kind that the command line says."""
    with pytest.raises(UsageError, match=message):
        call()


def test_trials_are_a_frame() -> None:
    """A row each, a column per parameter."""
    frame = hpo.launch(search(), workers=1, gpus="none").to_frame()
    assert list(frame["number"]) == [0, 1, 2, 3]
    assert (frame["value"] == 2 * frame["params.x"]).all()
    assert "history" not in frame


def test_a_model_made_in_python_is_searched_and_exported(tmp_path: Path) -> None:
    """By the process that has its code."""

    def build(params: dict[str, Any], dataset: Any) -> Any:
        import keras

        layers = [keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(params["units"], "relu")]
        output = keras.layers.Dense(dataset.num_classes, "softmax")
        model = keras.Sequential([keras.Input(dataset.input_shape), *layers, output])
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
        return model

    study = hpo.launch(
        hpo.Search(
            name="network",
            task=hpo.Train(data="digits", model=build),
            space={"units": IntDistribution(8, 16)},
            budget=hpo.Budget(trials=1, max_epochs=2),
        ),
        workers=1,
        gpus="none",
    )
    exported = study.export(tmp_path / "best.h5")
    assert sorted(path.name for path in exported.models) == ["best.h5", "best.keras"]
    assert study.optuna.user_attrs["exported"]["trial"] == 0


def test_importing_it_is_quick_and_imports_no_framework() -> None:
    """Every public name is at hand, for tab completion, too."""
    code = (
        "import sys, hpo; assert {'launch', 'load_study', 'Search', '__version__'} <= {*dir(hpo)}; print(*sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"tensorflow", "keras", "jax", "torch", "optuna", "pandas"} & set(answer.stdout.split())
    for name in hpo.__all__:
        assert getattr(hpo, name)
    assert hpo.__version__
    assert (Path(hpo.__file__).parent / "py.typed").exists()


CELLS = """
import hpo
from optuna.distributions import FloatDistribution

SHIFT = 1.0

def score(params, trial):
    return params["x"] + SHIFT
---
study = hpo.launch(
    hpo.Search(name="cell", task=score, direction="maximize", space={"x": FloatDistribution(0, 1)},
               budget=hpo.Budget(trials=3)),
    workers=1, gpus="none",
)
---
print(study.best.value - study.best.params["x"], study.status().done)
"""


def test_a_notebook_runs(tmp_path: Path) -> None:
    """A study defined in its cells runs in worker processes, and one line of output shows how far it is."""
    cells = [
        {"cell_type": "code", "id": f"c{index}", "metadata": {}, "outputs": [], "execution_count": None, "source": cell}
        for index, cell in enumerate(CELLS.split("---\n"))
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "study.ipynb").write_text(json.dumps(notebook))
    command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--inplace", "study.ipynb"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    done = json.loads((tmp_path / "study.ipynb").read_text())["cells"]
    [shown] = [output for output in done[1]["outputs"] if output["output_type"] == "display_data"]
    assert "cell  3 of 3 trials; 3 complete; best value 1." in "".join(shown["data"]["text/plain"])
    assert "".join(done[2]["outputs"][0]["text"]) == "1.0 3 of 3\n"


def test_the_name_of_a_file_is_a_study(write_study: Callable[..., Path]) -> None:
    """As on the command line, which can join, continue and export it."""
    write_study()
    study = hpo.launch("studies/instant.py", workers=1, gpus="none", trials=2)
    assert (study.name, study.status().finished) == ("instant", 2)
