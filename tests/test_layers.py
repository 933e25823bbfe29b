"""What imports what: modules only those before them, and no command that reads imports TensorFlow or Keras."""

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import pytest
from definitions import found
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler

import hpo as package
from hpo import Budget
from hpo.files.run_dir import RunDir
from hpo.storage import stored_study
from hpo.storage.database import backend_of, open_storage
from hpo.storage.url import resolve_url

# A room, or a module that stands alone, imports only those before it; so does a module within its room.
ROOMS: dict[str, tuple[str, ...]] = {
    "errors": (),
    "text": (),
    "files": ("run_dir", "reading", "writing", "output"),
    "devices": ("log_lines", "slots"),
    "datasets": (
        *("download", "npz", "pickled", "dataset", "cache", "merge", "stratification", "preview"),
        *("idx", "digits", "user_file", "loader"),
    ),
    "study": (
        *(
            "seeds",
            "allowed_values",
            "budget",
            "direction",
            "space",
            "comparison_settings",
            "fingerprint",
            "task",
            "definition",
        ),
        *("search", "comparison", "found", "code_hash", "siblings", "catalog", "live"),
    ),
    "models": ("augmentation", "optimizer", "autoencoder", "cnn", "mlp", "stack", "transfer"),
    "storage": (
        "bulk",
        "retry",
        "url",
        "command",
        "database",
        "records",
        "times",
        "trial_rows",
        "environment",
        "stored_study",
        "study_code",
        "leases",
    ),
    "search": (
        *("sampling", "encoding", "proposals", "surrogate", "curve", "forecast", "freeze_thaw", "attempts"),
        *("history", "limits", "pruning", "claims"),
    ),
    "results": ("trials", "status", "disk", "repeats", "table", "report"),
    "trial": (
        *("events", "checkpoint", "exhausted", "outputs", "measures", "half_precision", "callbacks", "reported"),
        *("outcome", "function_task", "training", "model", "train_task", "runner"),
    ),
    "saved_model": (
        *("inspection", "code_file", "model_card", "model_file", "proof", "export_check", "evaluation", "prediction"),
        *("weights", "export"),
    ),
    "workers": (
        *(
            "shutdown",
            "cleanup",
            "failure_limit",
            "handover",
            "processes",
            "launch",
            "own_process",
            "time_limit",
            "worker",
        ),
    ),
    "web": ("guard", "server", "dashboard"),
    "cli": ("stderr", "durations", "tables", "evaluation_view", "progress", "options", "look", "model", "launch"),
    "api": (),
    "__main__": (),
}
MOST_ENTRIES = 18  # directly in hpo/

ROOT = Path(package.__file__).parent
FILES = sorted(path for path in ROOT.rglob("*.py") if ROOT / "studies" not in path.parents)


def _place(path: Path) -> tuple[str, str]:
    """The room of a file and its module there; "" for what a package's ``__init__`` holds."""
    parts = [part.removesuffix(".py").replace("__init__", "") for part in path.relative_to(ROOT).parts]
    return parts[0], parts[1] if len(parts) > 1 else ""


def _imports(tree: ast.AST, package_of_file: list[str]) -> Iterator[tuple[str, str, int]]:
    """Every import of a part of ``hpo``, anywhere in the file: room, module and line, "" for a package itself."""
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
                room, module, *_ = [*parts[1:], "", ""]
                room = room if room in ROOMS else ""
                yield room, module if module in ROOMS.get(room, ()) else "", node.lineno


def _allowed(path: Path, room: str, module: str) -> bool:
    """Whether the file at ``path`` may import that module of that room."""
    own_room, own_module = _place(path)
    order = list(ROOMS)
    if own_room == "":  # the package hands on what a study file imports
        return room in ("study", "api")
    if room == "":
        return False
    if room != own_room:
        return order.index(room) < order.index(own_room)
    modules = ROOMS[room]
    if own_module == "":  # a package hands on names of its modules
        return True
    return module in modules[: modules.index(own_module)]


def test_every_module_has_its_place() -> None:
    """A new one is put into the list, where its reader learns what it may know of."""
    there: dict[str, set[str]] = {}
    for path in FILES:
        room, module = _place(path)
        if room:
            there.setdefault(room, set()).update({module} - {""})
    assert there == {room: set(modules) for room, modules in ROOMS.items()}


def test_the_package_has_few_entries() -> None:
    """A stranger who lists the package sees it whole."""
    entries = [path for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    assert len(entries) <= MOST_ENTRIES


@pytest.mark.parametrize("room", [room for room, modules in ROOMS.items() if modules])
def test_a_room_says_what_it_is_for(room: str) -> None:
    """Its ``__init__`` begins with that, in a few lines."""
    said = ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8")))
    assert said


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_modules_before_it(path: Path) -> None:
    """Also if the import stands in a function or is for types only; otherwise two modules need each other."""
    parents = ["hpo", *path.relative_to(ROOT).parts[:-1]]
    wrong = [
        f"line {line} imports {room or 'the package itself'} {module}"
        for room, module, line in _imports(ast.parse(path.read_text(encoding="utf-8")), parents)
        if not _allowed(path, room, module)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        pytest.param("import hpo.workers.worker", [("workers", "worker")], id="import"),
        pytest.param("from hpo.datasets.idx import MNIST", [("datasets", "idx")], id="of-a-module"),
        pytest.param("from hpo.study import space, budget", [("study", "space"), ("study", "budget")], id="modules"),
        pytest.param("from hpo import datasets, text", [("datasets", ""), ("text", "")], id="from-the-package"),
        pytest.param("from hpo import Budget", [("", "")], id="a-name-of-the-package"),
        pytest.param("import hpo", [("", "")], id="the-package"),
        pytest.param("from . import study\nfrom .errors import X", [("study", ""), ("errors", "")], id="relative"),
        pytest.param("def f():\n    from hpo import cli", [("cli", "")], id="in-a-function"),
        pytest.param("if TYPE_CHECKING:\n    import hpo.cli as c", [("cli", "")], id="for-types"),
        pytest.param("import hpoint, os.path\nfrom keras import hpo", [], id="others"),
    ],
)
def test_imports_are_seen_wherever_they_stand(code: str, found: list[tuple[str, str]]) -> None:
    """The test above would pass over what its reader does not see."""
    assert [(room, module) for room, module, _ in _imports(ast.parse(code), ["hpo"])] == found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An ``HPO_HOME`` with one stored study of one trial, so that the commands have something to read."""
    run_dir = RunDir(tmp_path_factory.mktemp("home"))
    storage = open_storage(resolve_url(f"sqlite:///{run_dir.database}", run_dir), write=True)
    definition = found(
        name="stored",
        task=lambda params, trial: 0.0,
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
        "import sys; from pathlib import Path; from hpo.web.dashboard import application\n"
        "from hpo.files.run_dir import RunDir; from hpo.storage.database import open_storage\n"
        "from hpo.storage.url import resolve_url\n"
        "run_dir = RunDir(Path(sys.argv[1]))\n"
        "storage = open_storage(resolve_url(f'sqlite:///{run_dir.database}', run_dir), write=False)\n"
        "application(storage, token=None, writable=False, artifacts=run_dir.artifacts)"
    )
    command = [sys.executable, "-X", "importtime", "-c", code, home]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert answer.returncode == 0, answer.stderr[-2000:]
    assert "optuna_dashboard" in _imported(answer.stderr)
    assert not _imported(answer.stderr) & {"tensorflow", "keras", "jax", "torch"}
