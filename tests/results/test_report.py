"""Reports: what stands around a table, and several studies in one document."""

import re
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage
from recorded import Recorded, foreign_study, tables

from hpo import Budget, Setting, vary
from hpo.errors import UsageError
from hpo.files.run_dir import RunDir
from hpo.models import build_cnn
from hpo.results.repeats import best_setting
from hpo.results.report import document, markdown
from hpo.storage.database import backend_of

NETWORK: dict[str, Any] = {"data": "digits", "model": build_cnn}


def _whole(message: str) -> str:
    """The pattern of just this message."""
    return f"^{re.escape(message)}$"


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
    assert tables(text) == [
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
    [[titles, *rows]] = tables(text)
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
    assert [rows[1][-1] for rows in tables(second)] == ["0.5000", "0.7500", "0.7500", "0.5000"]
    assert document(again, second) == second


def test_a_file_that_is_no_report_is_left_alone(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """Whoever mistypes a name does not lose a text."""
    message = "A report is added only to a report, but the file holds something else. Choose another --output."
    with pytest.raises(UsageError, match=_whole(message)):
        document([_finished(sqlite, run_dir, "s")], "# My notes\n\nI thought of them for weeks.\n")


def test_one_study_without_trials_spoils_the_document(sqlite: BaseStorage, run_dir: RunDir) -> None:
    """It is named; nothing is left out silently."""
    empty = Recorded(sqlite, run_dir, name="empty", settings=vary("x", {1: {}})).study
    with pytest.raises(UsageError, match=r"^A report needs a finished trial, but 'empty' has none\. Run it with: "):
        document([_finished(sqlite, run_dir, "s"), empty])


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
