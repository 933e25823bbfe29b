"""An evaluation is printed as a summary, a table of classes and a confusion matrix that fit a terminal."""

import io

import pytest
from rich.console import Console

from hpo.cli.evaluation_view import largest_confusions, render
from hpo.trial.measures import ClassMeasures, Evaluation, Mistake

NAMES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "[bold]Boot")


def evaluation_of(names):
    """990 images of each class are right, 10 are taken for the next class."""
    k = len(names)
    confusion = tuple(
        tuple(990 if true == predicted else (10 if predicted == (true + 1) % k else 0) for predicted in range(k))
        for true in range(k)
    )
    classes = tuple(ClassMeasures(name, 0.99, 0.98, 0.97, 1000) for name in names)
    mistakes = tuple(Mistake(i, 0, 1, 0.9) for i in range(100))
    macro, weighted = (ClassMeasures(f"{kind} average", 0.9, 0.9, 0.9, 10_000) for kind in ("macro", "weighted"))
    return Evaluation(0.0321, 0.99, classes, macro, weighted, confusion, mistakes, 10_000, 1.5)


@pytest.fixture
def evaluation():
    return evaluation_of(NAMES)


def printed(evaluation, **options):
    console = Console(file=io.StringIO(), width=80, **options)
    console.print(render(evaluation))
    return console.file.getvalue()


def test_prints_everything_in_80_columns(evaluation):
    """Summary, classes and all ten columns of the matrix fit 80 columns, and names are printed as they are."""
    text = printed(evaluation)
    assert "accuracy 99.00%  loss 0.0321  100 of 10,000 images wrong  1.5 s" in text
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("[bold]Boot") == 2
    row = next(line for line in text.splitlines() if "Trouser" in line and " 990 " in line)
    assert row.replace("│", "").split() == ["1", "Trouser", "·", "990", "10", *"·" * 7]
    assert "weighted average" in text


def test_highlights_the_largest_confusions(evaluation):
    """The five most frequent confusions are bold red; a perfect model has none."""
    assert largest_confusions(evaluation) == [(n, n + 1) for n in range(5)]
    assert printed(evaluation, force_terminal=True, color_system="standard").count("\x1b[1;31m") == 5
    perfect = tuple(tuple(int(true == predicted) for predicted in range(10)) for true in range(10))
    assert largest_confusions(Evaluation(**vars(evaluation) | {"confusion": perfect})) == []


def test_lists_confusions_where_the_matrix_would_not_fit():
    """A hundred classes get the five largest confusions in place of a matrix."""
    text = printed(evaluation_of([f"class {n}" for n in range(100)]))
    assert "Largest confusions" in text
    assert "predicted across" not in text
    assert max(map(len, text.splitlines())) <= 80
