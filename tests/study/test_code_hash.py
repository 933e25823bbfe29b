"""What of a study file is its code, and what two versions of it differ in."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from hpo.study import catalog
from hpo.study.code_hash import differences

STUDY = '''
"""A study."""

from dataclasses import replace
from functools import partial

import helpers
from hpo import Budget, Search
from optuna.distributions import FloatDistribution

TRIALS = 5
UNITS = 64
LAYERS = {"units": UNITS}
REPORTED = {1: 0.9}


def unused(x):
    return x


class Loss:
    def __call__(self, x):
        return x


def score(params, trial):
    """Score."""
    return helpers.scale(params["x"]) * LAYERS["units"] + Loss()(0)


study = Search(
    name="mine",
    description="One line",
    task=score,
    space={"x": FloatDistribution(0, 1)},
    budget=Budget(trials=TRIALS),
    direction="maximize",
)
other = replace(study, name="other", task=partial(score, trial=None), seed=3)
'''
HELPERS = "from more import WIDTH\n\ndef scale(x):\n    return x * WIDTH\n"

Code = Callable[..., dict[str, str]]


@pytest.fixture
def code(tmp_path: Path) -> Code:
    """The code of the study above with some texts of its file, or of others beside it, replaced."""

    def read(*changes: tuple[str, str], study: str = "mine", text: str = STUDY) -> dict[str, str]:
        files = {"mine.py": text, "helpers.py": HELPERS, "more.py": "WIDTH = 2\n", "unrelated.py": "X = 1\n"}
        for old, new in changes:
            assert any(old in content for content in files.values())
            files = {name: content.replace(old, new) for name, content in files.items()}
        for name, content in files.items():
            (tmp_path / name).write_text(content)
        return dict(catalog.load(f"{tmp_path}/mine.py:{study}").code)

    return read


def test_the_code_is_what_the_study_reaches(code: Code) -> None:
    """By name, and from module to module beside the file; not what only its data name."""
    own = {"study", "Search", "score", "helpers", "LAYERS", "UNITS", "Loss"}
    assert set(code()) == own | {"helpers.py", "more.py"}
    assert set(code(study="other")) == own | {"helpers.py", "more.py", "other", "replace", "partial"}
    assert all(re.fullmatch("[0-9a-f]{16}", found) for found in code().values())


def test_the_functions_of_a_sampler_are_code(code: Code) -> None:
    """Two hosts with different ones would search two studies in one."""
    sampled = ("    task=score,", "    task=score,\n    sampler=RandomSampler(unused(1)),")
    imported = (
        "from functools import partial",
        "from functools import partial\nfrom optuna.samplers import RandomSampler",
    )
    before = code(sampled, imported)
    after = code(sampled, imported, ("return x\n\n\nclass", "return x + 1\n\n\nclass"))
    assert differences(before, after, "mine.py") == ["unused in mine.py differs"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param("One line", "Another line", id="description"),
        pytest.param("TRIALS = 5", "TRIALS = 50", id="budget"),
        pytest.param("FloatDistribution(0, 1)", "FloatDistribution(0, 2)", id="space"),
        pytest.param("0.9", "0.91", id="reported-figure"),
        pytest.param("return x\n\n\nclass", "return -x\n\n\nclass", id="unused-function"),
        pytest.param('"""Score."""', '"""Better said."""', id="docstring"),
        pytest.param('    """Score."""\n', "", id="no-docstring"),
        pytest.param("UNITS = 64", "UNITS  =  (64)  # wide", id="comment-and-formatting"),
        pytest.param('params["x"]', "params['x']", id="quotes"),
        pytest.param("seed=3", "seed=4", id="another-study"),
        pytest.param("X = 1", "X = 2", id="file-that-is-not-imported"),
        pytest.param("import replace\n", "import asdict, replace\n", id="another-import"),
    ],
)
def test_what_is_no_code_does_not_count(old: str, new: str, code: Code) -> None:
    """Else a corrected line of text would ask for --amend."""
    assert code((old, new)) == code()


@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        pytest.param('LAYERS["units"]', 'LAYERS["units"] + 1', ["score in mine.py differs"], id="function"),
        pytest.param("UNITS = 64", "UNITS = 32", ["UNITS in mine.py differs"], id="constant"),
        pytest.param(
            "class Loss:\n    def __call__(self, x):\n        return x",
            "class Loss:\n    def __call__(self, x):\n        return -x",
            ["Loss in mine.py differs"],
            id="class",
        ),
        pytest.param("return x * WIDTH", "return x + WIDTH", ["helpers.py differs"], id="module-beside-it"),
        pytest.param("WIDTH = 2", "WIDTH = 3", ["more.py differs"], id="module-beside-that"),
        pytest.param(
            "task=score",
            "task=unused",
            [
                "LAYERS in mine.py is gone",
                "Loss in mine.py is gone",
                "UNITS in mine.py is gone",
                "helpers in mine.py is gone",
                "score in mine.py is gone",
                "study in mine.py differs",
                "unused in mine.py is new",
            ],
            id="task",
        ),
        pytest.param(
            "REPORTED =",
            "LAYERS['depth'] = 2\nREPORTED =",
            ["LAYERS in mine.py differs"],
            id="changed-after-it-was-made",
        ),
        pytest.param(
            "REPORTED =", "LAYERS.update(depth=2)\nREPORTED =", ["the top level in mine.py is new"], id="call"
        ),
        pytest.param(
            "def score",
            "@partial\ndef score",
            ["partial in mine.py is new", "score in mine.py differs"],
            id="decorator",
        ),
    ],
)
def test_what_differs_is_named(old: str, new: str, difference: list[str], code: Code) -> None:
    """The file, and the function or constant in it."""
    before = code()
    found = differences(before, code((old, new)), "mine.py")
    assert found == difference


def test_a_study_that_no_variable_shows_is_all_of_its_file(code: Code) -> None:
    """What cannot be followed counts."""
    text = STUDY + '\nfor width in (1, 2):\n    globals()[f"s{width}"] = replace(study, name=f"s{width}")\n'
    assert {"unused", "REPORTED", "TRIALS"} <= set(code(study="s1", text=text))


def test_stock_builders_are_code(write_study: Callable[..., Path]) -> None:
    """Whatever way they come into the file."""
    head = "from functools import partial\nimport hpo.models\nfrom hpo import Budget, Search, Train, models\n"
    head += "from hpo.models import build_mlp\nfrom optuna.distributions import IntDistribution\n"
    text = (
        'study = Search(name="mine", task=Train(data="digits", model={}), '
        'space={{"dense_units": IntDistribution(1, 9)}}'
        ", budget=Budget(trials=1))\n"
    )
    for model in ("build_mlp", "models.build_mlp", "hpo.models.build_mlp", "partial(build_mlp)"):
        path = write_study(head + text.format(model), "mine.py")
        assert "hpo/models/mlp.py" in catalog.load(str(path)).code
    derived = "import dataclasses\nfrom hpo.study.catalog import load\n"
    derived += 'study = dataclasses.replace(load("digits-cnn").written, name="derived")\n'
    assert "hpo/models/cnn.py" in catalog.load(str(write_study(derived, "derived.py"))).code


def test_the_shipped_studies_know_their_code() -> None:
    """A stock study is pinned to hpo's own builders."""
    study = catalog.load("fmnist-cnn")
    assert "hpo/models/cnn.py" in study.code
    assert "PAIRS" not in study.code
