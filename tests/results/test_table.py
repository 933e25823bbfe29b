"""Tables of our figures beside the reported ones, and heat maps."""

import math

import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.storages import BaseStorage
from recorded import Recorded, tables

from hpo import Setting, grid, vary
from hpo.files.run_dir import RunDir
from hpo.results.report import markdown

# The table


def test_ours_stand_beside_what_was_reported(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """Means, the deviation of one run, and the difference in both; bold where it is more than two deviations."""
    settings = vary("filters", {8: {"test_accuracy": 0.895}, 16: {"test_accuracy": 0.9}, 32: {}})
    comparison = Recorded(sqlite, run_dir, settings=settings, repeats=2)
    for accuracy in (0.9, 0.93, 0.94, 0.92, 0.93):
        comparison.run(0.5, test_accuracy=accuracy, test_images=10_000)
    # sqrt(0.9 * 0.1 / 10000) is 0.003: two equal runs are ten of those above 0.9.
    assert "\n".join(markdown(comparison.study).split("\n")[2:7]) == (
        "| filters | runs | test accuracy % | reported | difference | value |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
        "| 8 | 2 | 91.00 ± 1.41 | 89.50 | +1.50 (1.1 sd) | 0.5000 ± 0.0000 |\n"
        "| 16 | 2 | 93.00 ± 0.00 | 90.00 | **+3.00 (10.0 sd)** | 0.5000 ± 0.0000 |\n"
        "| 32 | 1 | 94.00 | – | – | 0.5000 |"
    )


@pytest.mark.parametrize(
    ("ours", "theirs", "cell"),
    [
        pytest.param(0.9059, 0.9, "+0.59 (2.0 sd)", id="within-two"),
        pytest.param(0.9061, 0.9, "**+0.61 (2.0 sd)**", id="beyond-two"),
        pytest.param(0.8939, 0.9, "**-0.61 (2.0 sd)**", id="below"),
        pytest.param(0.9, 0.9, "+0.00 (0.0 sd)", id="equal"),
        pytest.param(0.9, 1.0, "-10.00", id="without-a-deviation"),
    ],
)
def test_a_difference_beyond_two_deviations_is_bold(
    ours: float, theirs: float, cell: str, sqlite: BaseStorage, run_dir: RunDir
) -> None:
    """In percentage points; one run is compared by what counting images gives by chance."""
    comparison = Recorded(sqlite, run_dir, settings=vary("filters", {8: {"test_accuracy": theirs}}))
    comparison.run(0.5, test_accuracy=ours, test_images=10_000)
    [[titles, cells]] = tables(markdown(comparison.study))
    assert cells[titles.index("difference")] == cell


def test_each_reported_figure_has_ours_on_its_left(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """Without an accuracy the first is compared; parameters, seconds and epochs are told as people read them."""
    reported = {"seconds": 68, "parameters": 93_322, "val_loss": 0.1785, "best_epoch": 7}
    comparison = Recorded(sqlite, run_dir, settings=[Setting({"filters": 8}, reported, "1: the first")], repeats=2)
    for loss in (0.2, 0.3):
        history = {"val_accuracy": [0.5, 0.91], "val_loss": [9.0, loss], "accuracy": [0.1, 0.95]}
        comparison.run(0.91, best_epoch=2, seconds=12.25, parameters=93_322, history=history)
    [[titles, cells]] = tables(markdown(comparison.study))
    assert list(zip(titles, cells, strict=True)) == [
        ("setting", "1: the first"),
        ("filters", "8"),
        ("runs", "2"),
        ("val. accuracy %", "91.00 ± 0.00"),
        ("val. loss", "0.2500 ± 0.0707"),
        ("reported", "0.1785"),
        ("difference", "+0.0715 (1.0 sd)"),
        ("parameters", "93,322"),
        ("reported", "93,322"),
        ("seconds", "12.2 ± 0.0"),
        ("reported", "68.0"),
        ("best epoch", "2.0 ± 0.0"),
        ("reported", "7.0"),
    ]


def test_what_a_setting_lacks_is_of_the_base(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """Where another setting has it; what all have of the base stands below the table."""
    settings = [Setting({"layers": "a"}), Setting({"layers": "b", "activation": "relu"})]
    comparison = Recorded(sqlite, run_dir, settings=settings, base={"activation": "linear", "units": 8})
    for _ in settings:
        comparison.run(0.5)
    [[titles, *cells]] = tables(markdown(comparison.study))
    assert titles[:2] == ["layers", "activation"]
    assert [row[:2] for row in cells] == [["a", "linear"], ["b", "relu"]]


def test_each_reported_accuracy_is_compared(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """A setting of which another figure was reported than of the others is compared by its own."""
    settings = vary("filters", {8: {"test_accuracy": 0.9}, 16: {"val_accuracy": 0.8, "val_loss": 0.5}})
    comparison = Recorded(sqlite, run_dir, settings=settings)
    for _ in range(2):
        history = {"val_accuracy": [0.82], "val_loss": [0.6]}
        comparison.run(0.82, best_epoch=1, test_accuracy=0.9, test_images=100, validation_images=1_600, history=history)
    [[titles, first, second]] = tables(markdown(comparison.study))
    assert titles[2:] == [
        "test accuracy %", "reported", "difference", "val. accuracy %", "reported", "difference", "val. loss",
        "reported", "best epoch",
    ]  # fmt: skip
    assert first[2:] == ["90.00", "90.00", "+0.00 (0.0 sd)", "82.00", "–", "–", "0.6000", "–", "1.0"]
    # sqrt(0.8 * 0.2 / 1600) is 0.01.
    assert second[2:] == ["90.00", "–", "–", "82.00", "80.00", "+2.00 (2.0 sd)", "0.6000", "0.5000", "1.0"]


def test_only_parameters_that_vary_have_a_column(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """What a setting does not have, or has as nothing, is a dash."""
    settings = [
        Setting({"kind": "a", "learning_rate": 0.00001, "norm": True}),
        Setting({"kind": "a", "learning_rate": 0.1, "norm": False, "patience": 5}),
        Setting({"kind": "a", "learning_rate": 0.1, "norm": None}),
    ]
    comparison = Recorded(sqlite, run_dir, settings=settings)
    comparison.run(0.5)
    [[titles, *rows]] = tables(markdown(comparison.study))
    assert titles == ["learning rate", "norm", "patience", "runs", "value"]
    assert rows == [
        ["1e-05", "True", "–", "1", "0.5000"],
        ["0.1", "False", "5", "0", "–"],
        ["0.1", "–", "–", "0", "–"],
    ]


def test_a_setting_that_failed_says_so(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """Each reason once, by the setting's name or by its parameters; one that failed in part shows what it has."""
    settings = [Setting({"filters": 8}, {"test_accuracy": 0.9}), Setting({"filters": 16}, name="large")]
    comparison = Recorded(sqlite, run_dir, settings=settings, repeats=3)
    comparison.fail("too large", "out_of_memory")
    comparison.run(0.5)
    for _ in range(2):
        comparison.fail("too large", "out_of_memory")
    text = markdown(comparison.study)
    [[_titles, small, large]] = tables(text)
    assert small == ["", "8", "0", "failed", "90.00", "–", "failed"]
    assert large == ["large", "16", "1", "–", "–", "–", "0.5000"]
    assert "\n\nFailed:\n- filters=8: out_of_memory: too large\n- large: out_of_memory: too large\n\nRun: " in text


def test_a_column_ends_where_it_ends(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """Whatever stands in a text: the sign between columns, or a new line."""
    settings = [Setting({"layers": "conv32 | pool\n  softmax"}, name="a|b"), Setting({"layers": "softmax"}, name="c")]
    comparison = Recorded(sqlite, run_dir, settings=settings)
    comparison.run(0.5)
    [table] = tables(markdown(comparison.study))
    assert table == [
        ["setting", "layers", "runs", "value"],
        [r"a\|b", r"conv32 \| pool softmax", "1", "0.5000"],
        ["c", "softmax", "0", "–"],
    ]


def test_infinite_values_are_shown(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """An objective may return them; also in a heat map, which has no shade for them."""
    space = {"x": IntDistribution(1, 3), "y": IntDistribution(1, 3)}
    comparison = Recorded(sqlite, run_dir, settings=grid(space))
    for value in (math.inf, *range(8)):
        comparison.run(float(value))
    table, heat_map = tables(markdown(comparison.study))
    assert table[1] == ["1", "1", "1", "inf"]
    assert heat_map[1] == ["1", "–", "▁ 0.0000", "▂ 1.0000"]


# The heat map


def test_two_parameters_of_three_values_have_a_heat_map(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """The first goes down, the second across; the lowest mean has the lightest shade and the highest the darkest."""
    space = {"kind": CategoricalDistribution(["b", "a", "c"]), "units": IntDistribution(16, 64, step=16)}
    comparison = Recorded(sqlite, run_dir, settings=grid(space))
    for eighth in range(9):
        comparison.run(0.0, test_accuracy=eighth / 8, test_images=100)
    _table, heat_map = tables(markdown(comparison.study))
    assert heat_map == [
        ["test accuracy %", "16", "32", "48", "64"],
        ["b", "▁ 0.00", "▂ 12.50", "▃ 25.00", "▄ 37.50"],
        ["a", "▅ 50.00", "▅ 62.50", "▆ 75.00", "▇ 87.50"],
        ["c", "█ 100.00", "–", "–", "–"],
    ]


def test_a_heat_map_of_equal_values_has_one_shade(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """There is nothing to divide by. Without test figures it is of the value."""
    space = {"x": IntDistribution(1, 3), "y": IntDistribution(1, 3)}
    comparison = Recorded(sqlite, run_dir, settings=grid(space))
    for _ in range(9):
        comparison.run(0.5)
    _table, heat_map = tables(markdown(comparison.study))
    assert heat_map[0] == ["value", "1", "2", "3"]
    assert {cell for row in heat_map[1:] for cell in row[1:]} == {"█ 0.5000"}


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(grid({"x": IntDistribution(1, 2), "y": IntDistribution(1, 9)}), id="two-values"),
        pytest.param(grid({name: IntDistribution(1, 3) for name in "xyz"}), id="three-parameters"),
        pytest.param(vary("x", {1: {}, 2: {}, 3: {}}), id="one-parameter"),
    ],
)
def test_other_comparisons_have_no_heat_map(
    settings: tuple[Setting, ...], sqlite: BaseStorage, run_dir: RunDir
) -> None:
    """Their table says it better."""
    comparison = Recorded(sqlite, run_dir, settings=settings)
    for _ in range(3):
        comparison.run(0.5)
    assert len(tables(markdown(comparison.study))) == 1
