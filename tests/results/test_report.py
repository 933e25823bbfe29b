"""Tables of ours beside what others reported, and one row a study."""

import math
import re
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage
from recorded import Recorded, foreign_study

from hpo import Budget, Setting, grid, vary
from hpo.errors import StudyError, UsageError
from hpo.files.run_dir import RunDir
from hpo.models import build_cnn
from hpo.results.report import best_setting, document, markdown
from hpo.storage.database import backend_of

NETWORK: dict[str, Any] = {"data": "digits", "model": build_cnn}


def _whole(message: str) -> str:
    """The pattern of just this message."""
    return f"^{re.escape(message)}$"


def _tables(text: str) -> list[list[list[str]]]:
    """The cells of each table in a document, without the lines under their heads."""
    tables = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    return [
        [re.split(r"(?<!\\) \| ", line[2:-2]) for line in table.splitlines() if not line.startswith("| ---")]
        for table in tables
    ]


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
    [[titles, cells]] = _tables(markdown(comparison.study))
    assert cells[titles.index("difference")] == cell


def test_each_reported_figure_has_ours_on_its_left(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """Without an accuracy the first is compared; parameters, seconds and epochs are told as people read them."""
    reported = {"seconds": 68, "parameters": 93_322, "val_loss": 0.1785, "best_epoch": 7}
    comparison = Recorded(sqlite, run_dir, settings=[Setting({"filters": 8}, reported, "1: the first")], repeats=2)
    for loss in (0.2, 0.3):
        history = {"val_accuracy": [0.5, 0.91], "val_loss": [9.0, loss], "accuracy": [0.1, 0.95]}
        comparison.run(0.91, best_epoch=2, seconds=12.25, parameters=93_322, history=history)
    [[titles, cells]] = _tables(markdown(comparison.study))
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
    [[titles, *cells]] = _tables(markdown(comparison.study))
    assert titles[:2] == ["layers", "activation"]
    assert [row[:2] for row in cells] == [["a", "linear"], ["b", "relu"]]


def test_each_reported_accuracy_is_compared(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """A setting of which another figure was reported than of the others is compared by its own."""
    settings = vary("filters", {8: {"test_accuracy": 0.9}, 16: {"val_accuracy": 0.8, "val_loss": 0.5}})
    comparison = Recorded(sqlite, run_dir, settings=settings)
    for _ in range(2):
        history = {"val_accuracy": [0.82], "val_loss": [0.6]}
        comparison.run(0.82, best_epoch=1, test_accuracy=0.9, test_images=100, validation_images=1_600, history=history)
    [[titles, first, second]] = _tables(markdown(comparison.study))
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
    [[titles, *rows]] = _tables(markdown(comparison.study))
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
    [[_titles, small, large]] = _tables(text)
    assert small == ["", "8", "0", "failed", "90.00", "–", "failed"]
    assert large == ["large", "16", "1", "–", "–", "–", "0.5000"]
    assert "\n\nFailed:\n- filters=8: out_of_memory: too large\n- large: out_of_memory: too large\n\nRun: " in text


def test_a_column_ends_where_it_ends(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """Whatever stands in a text: the sign between columns, or a new line."""
    settings = [Setting({"layers": "conv32 | pool\n  softmax"}, name="a|b"), Setting({"layers": "softmax"}, name="c")]
    comparison = Recorded(sqlite, run_dir, settings=settings)
    comparison.run(0.5)
    [table] = _tables(markdown(comparison.study))
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
    table, heat_map = _tables(markdown(comparison.study))
    assert table[1] == ["1", "1", "1", "inf"]
    assert heat_map[1] == ["1", "–", "▁ 0.0000", "▂ 1.0000"]


# The heat map


def test_two_parameters_of_three_values_have_a_heat_map(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """The first goes down, the second across; the lowest mean has the lightest shade and the highest the darkest."""
    space = {"kind": CategoricalDistribution(["b", "a", "c"]), "units": IntDistribution(16, 64, step=16)}
    comparison = Recorded(sqlite, run_dir, settings=grid(space))
    for eighth in range(9):
        comparison.run(0.0, test_accuracy=eighth / 8, test_images=100)
    _table, heat_map = _tables(markdown(comparison.study))
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
    _table, heat_map = _tables(markdown(comparison.study))
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
    assert len(_tables(markdown(comparison.study))) == 1


# What stands around it


def test_a_section_says_what_the_comparison_was(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """Its description, what explains the differences, its base, and how it was run: enough to run it again."""
    comparison = Recorded(
        sqlite, run_dir, **NETWORK, name="t", source="s", description="One line.",
        remarks="Theirs had no early stopping.",
        settings=vary("epochs", {1: {}, 2: {}, 40: {}}), base={"epochs": 5, "dropout": 0.25, "layers": "a\n b"},
        budget=Budget(max_epochs=50), subset=400, overrides={"max_epochs": 20},
    )  # fmt: skip
    for precision in ("float32", "mixed_bfloat16", "float32"):
        comparison.run(0.5, precision=precision)
    text = markdown(comparison.study)
    assert text.startswith("## t\n\nOne line.\n\n| epochs | runs |")
    today = comparison.study.trials[-1].datetime_complete
    assert today is not None
    environment = comparison.study.user_attrs["environment"]
    end = text.partition("\n\nTheirs had no early stopping.\n\n")[2]
    packages = ", ".join(f"{name} {version}" for name, version in environment["versions"].items() if name != "hpo")
    assert re.sub(r"\d{4}-\d\d-\d\d", "TODAY", end, count=1) == (
        "Base: epochs=5, dropout=0.25, layers=a b.  \n"
        "Run: `hpo launch --study s --name t --max-epochs 20`, TODAY; 3 trials; at most 20 epochs; "
        f"400 of the training images; precision float32, mixed_bfloat16; {environment['machine']}; {packages}.\n"
    )


@pytest.mark.parametrize(
    ("fields", "epochs"),
    [
        pytest.param({"settings": vary("x", {1: {}})}, 50, id="of-the-budget"),
        pytest.param({"settings": vary("x", {1: {}}), "base": {"epochs": 5}}, 5, id="of-the-base"),
        pytest.param({"settings": vary("epochs", {1: {}, 10: {}}), "base": {"epochs": 5}}, 10, id="of-the-settings"),
        pytest.param(
            {"settings": [Setting({"epochs": 3}), Setting({"x": 1})], "base": {"epochs": 5}}, 5, id="of-some-settings"
        ),
        pytest.param({"space": {"x": IntDistribution(1, 2)}, "budget": Budget(trials=2)}, 50, id="of-a-search"),
    ],
)
def test_the_epochs_are_the_most_that_any_trial_had(
    fields: dict[str, Any], epochs: int, sqlite: BaseStorage, run_dir: RunDir
) -> None:
    """Wherever they come from."""
    study = Recorded(sqlite, run_dir, **{**NETWORK, **fields})
    study.run(0.5)
    assert f"; at most {epochs} epochs; all training images; " in markdown(study.study)


def test_a_study_with_an_objective_says_nothing_of_images(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """Nor of epochs and precision, which are the objective's own; and trials given back are not counted."""
    comparison = Recorded(sqlite, run_dir, settings=vary("x", {1: {}, 2: {}, 3: {}}), source="a.py:s")
    comparison.run(0.5)
    comparison.give_back()
    comparison.fail("KeyError: 'x'")
    comparison.start()
    machine = comparison.study.user_attrs["environment"]["machine"]
    [line] = [line for line in markdown(comparison.study).splitlines() if line.startswith("Run: ")]
    before, _, _after = line.partition(f"; {machine}; ")
    assert re.sub(r"\d{4}-\d\d-\d\d", "TODAY", before) == ("Run: `hpo launch --study a.py:s`, TODAY; 2 trials")


def test_a_study_without_a_finished_trial_has_no_report(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """Not one that has begun either; the error says what to type."""
    comparison = Recorded(sqlite, run_dir, settings=vary("x", {1: {}}))
    url = backend_of(sqlite).engine.url
    message = f"A report needs a finished trial, but 's' has none. Run it with: hpo launch --study s --storage {url}"
    for begin in (lambda: None, comparison.give_back, comparison.start):
        begin()
        with pytest.raises(UsageError, match=_whole(message)):
            markdown(comparison.study)


def test_a_comparison_that_only_failed_has_a_report(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """The reasons are what its reader looks for."""
    comparison = Recorded(sqlite, run_dir, settings=vary("x", {1: {"test_accuracy": 0.9}}))
    comparison.fail("KeyError: 'x'")
    text = markdown(comparison.study)
    assert _tables(text) == [
        [["x", "runs", "test accuracy %", "reported", "difference"], ["1", "0", "failed", "90.00", "–"]]
    ]
    assert "Failed:\n- x=1: error: KeyError: 'x'\n" in text


# Searches


def test_a_search_shows_its_ten_best_trials(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """Best first; its points are no grid, so that there is no heat map."""
    space = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}
    search = Recorded(sqlite, run_dir, space=space, budget=Budget(trials=20), direction="minimize")
    for value in range(12, 0, -1):
        search.run(float(value))
    search.fail("KeyError: 'x'")
    text = markdown(search.study)
    [[titles, *rows]] = _tables(text)
    assert text.startswith("## s\n\nThe 10 best of 13 trials, best first.\n\n| x |")
    assert titles == ["x", "y", "runs", "value"]
    assert [row[3] for row in rows] == [f"{value}.0000" for value in range(1, 11)]
    assert float(rows[0][0]) == pytest.approx(search.study.trials[11].params["x"], rel=1e-5)


def test_a_search_that_shows_all_of_its_trials_says_nothing_of_it(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """Until one of them is not shown, such as one that failed."""
    search = Recorded(sqlite, run_dir, space={"x": FloatDistribution(0, 1)}, budget=Budget(trials=3))
    search.run(1.0)
    search.run(2.0)
    assert "best" not in markdown(search.study)
    search.fail("KeyError: 'x'")
    assert "The 2 best of 3 trials, best first." in markdown(search.study)


def test_a_study_of_another_program_has_a_table(sqlite: BaseStorage) -> None:
    """How it was run nobody recorded."""
    foreign = optuna.create_study(storage=sqlite, study_name="foreign", sampler=RandomSampler())
    foreign.optimize(lambda trial: trial.suggest_int("y", 1, 1), n_trials=1)
    assert markdown(foreign) == "## foreign\n\n| y | runs | value |\n| --- | --- | --- |\n| 1 | 1 | 1.0000 |\n"


def test_what_another_program_calls_by_our_names_is_left_out(sqlite: BaseStorage) -> None:
    """Neither a definition nor an export is any."""
    foreign = foreign_study(sqlite)
    assert markdown(foreign) == "## foreign\n\n| runs | value |\n| --- | --- |\n| 1 | 0.5000 |\n"
    assert best_setting(foreign) == {**dict.fromkeys(best_setting(foreign)), "study": "foreign", "setting": ""}


# Documents


def _finished(sqlite: BaseStorage, run_dir: RunDir, name: str, value: float = 0.5) -> optuna.Study:
    comparison = Recorded(sqlite, run_dir, name=name, settings=vary("x", {1: {}}), budget=Budget())
    comparison.run(value)
    return comparison.study


def test_several_studies_are_one_document(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """Each a section of its own under one head that explains the figures."""
    one, two = _finished(sqlite, run_dir, "b"), _finished(sqlite, run_dir, "a")
    text = document([one, two])
    head, *sections = text.split("\n## ")
    assert head.startswith("# Results\n\nWritten by `hpo report --output`")
    assert [f"## {section.rstrip()}\n" for section in sections] == [markdown(two), markdown(one)]
    assert text.endswith(markdown(one))
    assert "\n\n\n" not in text


def test_a_study_is_replaced_where_it_stands(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """Others keep what was written of them; sections come by name."""
    first = document([_finished(sqlite, run_dir, name, 0.5) for name in ("d", "a", "b")])
    for study in sqlite.get_all_studies():
        sqlite.delete_study(study._study_id)
    again = [_finished(sqlite, run_dir, name, 0.75) for name in ("c", "b")]
    second = document(again, first)
    assert re.findall(r"^## (.*)$", second, flags=re.MULTILINE) == ["a", "b", "c", "d"]
    assert [rows[1][-1] for rows in _tables(second)] == ["0.5000", "0.7500", "0.7500", "0.5000"]
    assert document(again, second) == second


def test_a_file_that_is_no_report_is_left_alone(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """Whoever mistypes a name does not lose a text."""
    message = "A report is only added to a report, but the file holds something else. Choose another --output."
    with pytest.raises(UsageError, match=_whole(message)):
        document([_finished(sqlite, run_dir, "s")], "# My notes\n\nI thought of them for weeks.\n")


def test_one_study_without_trials_spoils_the_document(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """It is named; nothing is left out silently."""
    empty = Recorded(sqlite, run_dir, name="empty", settings=vary("x", {1: {}})).study
    with pytest.raises(UsageError, match=r"^A report needs a finished trial, but 'empty' has none\. Run it with: "):
        document([_finished(sqlite, run_dir, "s"), empty])


# The best of a study


@pytest.mark.parametrize(
    ("direction", "setting"), [("maximize", "x=2"), ("minimize", "x=1")], ids=["maximize", "minimize"]
)
def test_the_best_of_a_comparison_is_its_best_mean(
    direction: str, setting: str, sqlite: BaseStorage, run_dir: RunDir
) -> None:
    """Not its best run, which of noisy settings is the luckiest; a setting that failed is none."""
    settings = vary("x", {1: {}, 2: {}, 3: {}})
    comparison = Recorded(sqlite, run_dir, settings=settings, repeats=2, direction=direction)
    values = {1: (0.2, 0.4), 2: (0.1, 0.9)}
    for repeat in range(2):
        for x in (1, 2):
            measured = {"test_accuracy": 0.9 + x / 100, "test_loss": 0.3, "test_precision": 0.8, "test_f1": 0.7}
            comparison.run(values[x][repeat], **measured, test_recall=0.6, parameters=1000, seconds=2.0 + 4 * repeat)
        comparison.fail("too large", "out_of_memory")
    row = best_setting(comparison.study)
    assert row.pop("accuracy") == pytest.approx(0.92 if direction == "maximize" else 0.91)
    assert row == {
        "study": "s",
        "measured_on": "test",
        "loss": pytest.approx(0.3),
        "precision": pytest.approx(0.8),
        "recall": pytest.approx(0.6),
        "f1": pytest.approx(0.7),
        "parameters": 1000,
        "seconds": pytest.approx(4.0),
        "setting": setting,
    }


def test_the_best_setting_is_called_by_its_name(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """Else by its parameters, as they are: the row is no Markdown."""
    settings = [Setting({"layers": "a | b", "rate": 0.001}), Setting({"layers": "c"}, name="2: larger")]
    comparison = Recorded(sqlite, run_dir, settings=settings)
    comparison.run(0.5)
    assert best_setting(comparison.study)["setting"] == "layers=a | b, rate=0.001"
    comparison.run(0.75)
    assert best_setting(comparison.study)["setting"] == "2: larger"


def test_an_export_does_not_change_what_a_comparison_measured(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """Its means are of all repeats; the exported model is one, trained again."""
    comparison = Recorded(sqlite, run_dir, settings=vary("x", {1: {}}))
    comparison.run(0.5, test_accuracy=0.9, test_loss=0.3)
    comparison.study.set_user_attr("exported", {"trial": 0, "metrics": {"test_accuracy": 0.95, "test_loss": 0.1}})
    row = best_setting(comparison.study)
    assert (row["accuracy"], row["loss"]) == (0.9, 0.3)


EXPORTED = {"search_value": 0.9, "test_accuracy": 0.88, "test_loss": 0.4, "test_precision": 0.87, "test_recall": 0.86}


@pytest.mark.parametrize(
    ("exported", "expected"),
    [
        pytest.param(None, ("validation", 0.9, 0.25, None, None, None), id="not-exported"),
        pytest.param(
            {"trial": 1, "metrics": {**EXPORTED, "test_f1": 0.85}}, ("test", 0.88, 0.4, 0.87, 0.86, 0.85), id="exported"
        ),
        pytest.param(
            {"trial": 0, "metrics": {**EXPORTED, "test_f1": 0.85}},
            ("validation", 0.9, 0.25, None, None, None),
            id="another-trial-exported",
        ),
    ],
)
def test_a_search_is_measured_by_its_export(
    exported: dict[str, Any] | None, expected: tuple[Any, ...], sqlite: BaseStorage, run_dir: RunDir
) -> None:
    """Of its best trial; before that there are only the validation images that it was chosen by."""
    search = Recorded(sqlite, run_dir, **NETWORK, space={"x": IntDistribution(3, 3)}, budget=Budget(trials=2))
    for value in (0.5, 0.9):
        history = {"val_accuracy": [0.1, value], "val_loss": [0.9, 0.25]}
        search.run(value, best_epoch=2, history=history, seconds=12.5, parameters=10)
    if exported is not None:
        search.study.set_user_attr("exported", exported)
    row = best_setting(search.study)
    names = ("measured_on", "accuracy", "loss", "precision", "recall", "f1")
    assert tuple(row[name] for name in names) == expected
    assert (row["study"], row["parameters"], row["seconds"], row["setting"]) == ("s", 10, 12.5, "x=3")


def test_the_best_of_a_study_with_an_objective_has_only_what_it_has(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """Its value is on a scale of its own, so that it stands in no column."""
    comparison = Recorded(sqlite, run_dir, settings=vary("x", {1: {}}))
    comparison.run(42.0, seconds=0.5)
    assert best_setting(comparison.study) == {
        "study": "s",
        **dict.fromkeys(("measured_on", "accuracy", "loss", "precision", "recall", "f1", "parameters")),
        "seconds": 0.5,
        "setting": "x=1",
    }


def test_there_is_no_best_before_a_trial_has_a_value(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """The error says how to get one."""
    comparison = Recorded(sqlite, run_dir, settings=vary("x", {1: {}, 2: {}}))
    comparison.fail("KeyError: 'x'")
    url = backend_of(sqlite).engine.url
    message = f"Study 's' has no finished trial yet. Continue it with: hpo launch --study s --storage {url}"
    with pytest.raises(StudyError, match=_whole(message)):
        best_setting(comparison.study)


def test_reading_needs_no_permission_to_write(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """Reports are made of a storage opened to read."""
    from hpo.storage import stored_study
    from hpo.storage.database import backend_of, open_storage

    _finished(sqlite, run_dir, "s")
    url = backend_of(sqlite).engine.url
    assert Path(url.database or "").is_file()
    reader = open_storage(url, write=False)
    study = stored_study.load(reader, "s")
    assert markdown(study).startswith("## s\n")
    assert best_setting(study)["setting"] == "x=1"
    backend_of(reader).engine.dispose()


# Texts of others


def test_texts_of_others_change_neither_table_nor_page(sqlite: BaseStorage) -> None:
    """Names, values and failures are one line each, without colours, and are no HTML."""
    foreign = optuna.create_study(storage=sqlite, study_name="a <b>\n## x", sampler=RandomSampler())
    distribution = CategoricalDistribution([r"\|<img src=x>", "\x1b[31mred\x1b[0m\n| & more"])
    for value in distribution.choices:
        foreign.add_trial(
            optuna.trial.create_trial(value=1.0, params={"p|<i>": value}, distributions={"p|<i>": distribution})
        )
    assert markdown(foreign) == (
        "## a &lt;b> ## x\n\n"
        "| p\\|&lt;i> | runs | value |\n| --- | --- | --- |\n"
        "| \\\\\\|&lt;img src=x> | 1 | 1.0000 |\n"
        "| red \\| &amp; more | 1 | 1.0000 |\n"
    )
    assert document([foreign], document([foreign])) == document([foreign])


def test_a_failure_is_one_line(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """Whatever an exception says, the next paragraph is the next paragraph."""
    comparison = Recorded(sqlite, run_dir, settings=vary("x", {1: {}}))
    comparison.fail("ValueError: \x1b[31m<script>\x1b[0m\n\n## another")
    assert "Failed:\n- x=1: error: ValueError: &lt;script> ## another\n" in markdown(comparison.study)
