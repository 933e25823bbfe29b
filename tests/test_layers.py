"""What imports what: modules only those before them, and no command that reads imports TensorFlow or Keras."""

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler

import hpo as package
from hpo import Budget, StudyDefinition, stored_study
from hpo.run_dir import RunDir
from hpo.storage import backend_of, open_storage
from hpo.storage_url import resolve_url

# A module imports only those before it; a package is one of them.
LAYERS = (
    "errors",
    "one_line",
    "noise",
    "values",
    "run_dir",
    "devices",
    "space",
    "experiment",
    "datasets",
    "budget",
    "direction",
    "canonical",
    "study",
    "source_code",
    "siblings",
    "catalog",
    "models",
    "patience",
    "storage_url",
    "storage",
    "trial_rows",
    "command",
    "stored_study",
    "seeds",
    "sampling",
    "leases",
    "claims",
    "pruning",
    "failures",
    "results",
    "leftovers",
    "events",
    "checkpoint",
    "callbacks",
    "training",
    "half_precision",
    "input_file",
    "output_file",
    "outputs",
    "model_inspection",
    "code_file",
    "model_file",
    "evaluate",
    "proof",
    "export_check",
    "trial_model",
    "reported_trial",
    "objective",
    "worker",
    "worker_processes",
    "launch",
    "progress",
    "averages",
    "report",
    "evaluation_view",
    "predict",
    "export",
    "dashboard",
    "listing",
    "cli",
    "__main__",
)

ROOT = Path(package.__file__).parent
FILES = sorted(path for path in ROOT.rglob("*.py") if ROOT / "studies" not in path.parents)


def _layer(path: Path) -> str:
    """The module or package directly under ``hpo`` that a file belongs to; "" for the package itself."""
    part = path.relative_to(ROOT).parts[0].removesuffix(".py")
    return "" if part == "__init__" else part


def _imports(tree: ast.AST, package_of_file: list[str]) -> Iterator[tuple[str, int]]:
    """Every import of a part of ``hpo``, anywhere in the file, with its line; "" where it is of ``hpo`` itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            named = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package_of_file[: len(package_of_file) - node.level + 1] if node.level else []
            module = [*above, *(node.module.split(".") if node.module else [])]
            named = [[*module, alias.name] for alias in node.names]
        else:
            continue
        for parts in named:
            if parts[0] == "hpo":
                yield (parts[1] if len(parts) > 1 and parts[1] in LAYERS else ""), node.lineno


def test_every_module_has_its_place() -> None:
    """A new one is put into the list, where its reader learns what it may know of."""
    there = {_layer(path) for path in FILES} - {""}
    assert there == set(LAYERS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_modules_before_it(path: Path) -> None:
    """Also where the import stands in a function or is for types only; else two modules need each other."""
    layer = _layer(path)
    if layer == "":
        # What a study file imports: the package hands on names of these modules, when they are asked for.
        allowed = {"budget", "space", "experiment", "study"}
    else:
        allowed = {*LAYERS[: LAYERS.index(layer)], *([layer] if path.parent != ROOT else [])}
    parents = ["hpo", *path.relative_to(ROOT).parts[:-1]]
    wrong = [
        f"line {line} imports {name or 'the package itself'}"
        for name, line in _imports(ast.parse(path.read_text(encoding="utf-8")), parents)
        if name not in allowed
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        pytest.param("import hpo.worker", ["worker"], id="import"),
        pytest.param("from hpo.datasets.idx import MNIST", ["datasets"], id="of-a-package"),
        pytest.param("from hpo import space, study", ["space", "study"], id="from-the-package"),
        pytest.param("from hpo import Budget", [""], id="a-name-of-the-package"),
        pytest.param("import hpo", [""], id="the-package"),
        pytest.param("from . import claims\nfrom .errors import X", ["claims", "errors"], id="relative"),
        pytest.param("def f():\n    from hpo import cli", ["cli"], id="in-a-function"),
        pytest.param("if TYPE_CHECKING:\n    import hpo.cli as c", ["cli"], id="for-types"),
        pytest.param("import hpoint, os.path\nfrom keras import hpo", [], id="others"),
    ],
)
def test_imports_are_seen_wherever_they_stand(code: str, found: list[str]) -> None:
    """The test above would pass over what its reader does not see."""
    assert [name for name, _ in _imports(ast.parse(code), ["hpo"])] == found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An ``HPO_HOME`` with one stored study of one trial, so that the commands have something to read."""
    run_dir = RunDir(tmp_path_factory.mktemp("home"))
    storage = open_storage(resolve_url(f"sqlite:///{run_dir.database}", run_dir), write=True)
    definition = StudyDefinition(
        name="stored",
        objective=lambda params, trial: 0.0,
        direction="maximize",
        space={"x": FloatDistribution(0, 1)},
        budget=Budget(trials=3),
        sampler=RandomSampler(),
    )
    study, _ = stored_study.create_or_resume(storage, definition, run_dir)
    study.add_trial(optuna.trial.create_trial(value=0.5))
    backend_of(storage).engine.dispose()
    return str(run_dir.home)


def _imported(stderr: str) -> set[str]:
    """The packages that a process imported, by what ``python -X importtime`` writes."""
    return set(re.findall(r"^import time:.*\| +([A-Za-z0-9_]+)", stderr, flags=re.MULTILINE))


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        pytest.param(["--help"], "launch", id="help"),
        pytest.param(["status", "--study", "stored"], "1 of 3 trials", id="status"),
        pytest.param(["trials", "--study", "stored"], "COMPLETE", id="trials"),
        pytest.param(["studies"], "stored", id="studies"),
    ],
)
def test_a_command_that_reads_imports_no_framework(
    arguments: list[str], shown: str, home: str, hpo: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """TensorFlow takes seconds; a question to the storage should not."""
    answer = hpo(*arguments, HPO_HOME=home, PYTHONPROFILEIMPORTTIME="1")
    assert shown in answer.stdout
    assert "typer" in _imported(answer.stderr)
    assert not _imported(answer.stderr) & {"tensorflow", "keras", "jax", "torch"}


def test_the_dashboard_imports_no_framework(home: str) -> None:
    """Nor does optuna-dashboard's application over a storage."""
    code = (
        "import sys; from pathlib import Path; from hpo.dashboard import application\n"
        "from hpo.run_dir import RunDir; from hpo.storage import open_storage\n"
        "from hpo.storage_url import resolve_url\n"
        "run_dir = RunDir(Path(sys.argv[1]))\n"
        "storage = open_storage(resolve_url(f'sqlite:///{run_dir.database}', run_dir), write=False)\n"
        "application(storage, token=None, writable=False, artifacts=run_dir.artifacts)"
    )
    command = [sys.executable, "-X", "importtime", "-c", code, home]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert answer.returncode == 0, answer.stderr[-2000:]
    assert "optuna_dashboard" in _imported(answer.stderr)
    assert not _imported(answer.stderr) & {"tensorflow", "keras", "jax", "torch"}
