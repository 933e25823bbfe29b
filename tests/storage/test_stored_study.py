"""A study's first launch, its later ones, and what is refused between them."""

import json
import threading
from typing import Any

import optuna
import pytest
from definitions import found
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.pruners import MedianPruner
from optuna.samplers import RandomSampler
from optuna.storages import BaseStorage
from recorded import foreign_study
from sqlalchemy.engine import make_url

from hpo import Budget
from hpo.errors import StudyChanged, StudyError
from hpo.files.run_dir import RunDir
from hpo.storage import stored_study, study_code
from hpo.storage.database import backend_of, open_storage
from hpo.storage.url import resolve_url
from hpo.study.found import FoundStudy

SPACE = {"x": FloatDistribution(0.0, 1.0), "kind": CategoricalDistribution(["a", "b"])}


@pytest.fixture
def storage(sqlite: BaseStorage) -> BaseStorage:
    """An empty one in a SQLite file; the same questions are asked of PostgreSQL elsewhere."""
    return sqlite


def score(params: dict[str, Any], trial: Any) -> float:
    return 0.5


def _definition(**fields: Any) -> FoundStudy:
    given = {
        "name": "s",
        "task": score,
        "direction": "maximize",
        "space": SPACE,
        "budget": Budget(trials=3),
        "sampler": RandomSampler(),
        "source": "s",
    }
    return found(**{**given, **fields})


def test_the_first_launch_records_the_study(storage: BaseStorage, run_dir: RunDir) -> None:
    """What it means, where its code is, its budget and what it ran on; for people also as files."""
    definition = _definition(direction="minimize", source="/x/studies/s.py:s")
    study, is_new = stored_study.create_or_resume(storage, definition, run_dir)
    assert is_new
    assert study.direction == optuna.study.StudyDirection.MINIMIZE
    recorded = stored_study.load(storage, "s").user_attrs
    assert recorded["definition"] == json.loads(json.dumps(definition.definition.as_json()))
    assert recorded["fingerprint"] == definition.definition.fingerprint
    assert (recorded["source"], recorded["budget"]) == ("/x/studies/s.py:s", 3)
    assert {"hpo", "keras", "optuna", "numpy"} <= recorded["environment"]["versions"].keys()
    assert json.loads(run_dir.definition("s").read_text()) == recorded["definition"]
    assert json.loads(run_dir.environment("s").read_text()) == recorded["environment"]


def test_a_later_launch_continues_it(storage: BaseStorage, run_dir: RunDir) -> None:
    """Nothing of it is lost, whatever was recorded of the environment in between."""
    study, _ = stored_study.create_or_resume(storage, _definition(), run_dir)
    study.add_trial(optuna.trial.create_trial(value=0.5))
    study.set_user_attr("environment", {"python": "older"})
    again, is_new = stored_study.create_or_resume(storage, _definition(description="A new line"), run_dir)
    assert not is_new
    assert (again._study_id, len(again.trials)) == (study._study_id, 1)
    assert again.user_attrs["environment"] == {"python": "older"}


def test_two_first_launches_at_once_make_one_study(storage: BaseStorage, run_dir: RunDir) -> None:
    """One of them records it, the other joins."""
    start, launches = threading.Barrier(2), []

    def launch() -> None:
        own = open_storage(backend_of(storage).engine.url, write=True)
        start.wait()
        launches.append(stored_study.create_or_resume(own, _definition(), run_dir))
        backend_of(own).engine.dispose()

    threads = [threading.Thread(target=launch) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(is_new for _, is_new in launches) == [False, True]
    assert stored_study.names(storage) == ["s"]


def test_a_later_launch_may_raise_the_budget(storage: BaseStorage, run_dir: RunDir) -> None:
    """Workers that run already read it from the storage."""
    running, _ = stored_study.create_or_resume(storage, _definition(), run_dir)
    stored_study.create_or_resume(storage, _definition(budget=Budget(trials=9)), run_dir)
    assert running.user_attrs["budget"] == 9
    assert running.user_attrs["definition"]["budget"]["trials"] == 9
    assert json.loads(run_dir.definition("s").read_text())["budget"]["trials"] == 9


def test_what_an_earlier_launch_set_stays_set(storage: BaseStorage, run_dir: RunDir) -> None:
    """ "Continue with: hpo launch --study s" is what an interrupted launch with ``--trials 200`` tells its user."""
    first = _definition().with_overrides(trials=200, max_epochs=2, max_retries=7)
    stored_study.create_or_resume(storage, first, run_dir)
    again = stored_study.resumed(storage, _definition())
    assert again.definition.budget == Budget(trials=200, max_epochs=2, max_retries=7)
    study, is_new = stored_study.create_or_resume(storage, again, run_dir)
    assert not is_new
    assert study.user_attrs["budget"] == 200


def test_what_a_later_launch_sets_comes_before_what_an_earlier_one_set(storage: BaseStorage, run_dir: RunDir) -> None:
    """Each option by itself; and it holds for the launches after it."""
    stored_study.create_or_resume(storage, _definition().with_overrides(trials=200, max_epochs=2), run_dir)
    second = stored_study.resumed(storage, _definition().with_overrides(trials=7))
    assert second.definition.budget == Budget(trials=7, max_epochs=2)
    stored_study.create_or_resume(storage, second, run_dir, amend=True)
    assert stored_study.resumed(storage, _definition()).definition.budget == Budget(trials=7, max_epochs=2)


def test_what_a_launch_set_does_not_hide_a_changed_file(storage: BaseStorage, run_dir: RunDir) -> None:
    """Only what was set is taken over; the rest is compared as ever."""
    stored_study.create_or_resume(storage, _definition().with_overrides(max_epochs=2), run_dir)
    changed = stored_study.resumed(storage, _definition(seed=7))
    with pytest.raises(StudyChanged, match=r"cannot be compared: seed: 0 -> 7\. "):
        stored_study.create_or_resume(storage, changed, run_dir)


def test_a_study_that_is_not_stored_is_resumed_as_it_is(storage: BaseStorage, run_dir: RunDir) -> None:
    """Also where it was launched under another name, or another program made one of this name."""
    stored_study.create_or_resume(storage, _definition(name="t").with_overrides(trials=200), run_dir)
    definition = _definition()
    assert stored_study.resumed(storage, definition) == definition
    optuna.create_study(storage=storage, study_name="s")
    assert stored_study.resumed(storage, definition) == definition


def test_a_later_launch_records_where_the_code_is_now(storage: BaseStorage, run_dir: RunDir) -> None:
    """A study file that was moved is the same study; its workers look for it by the recorded source."""
    stored_study.create_or_resume(storage, _definition(source="/old/s.py:s"), run_dir)
    study, _ = stored_study.create_or_resume(storage, _definition(source="/new/s.py:s"), run_dir)
    assert study.user_attrs["source"] == "/new/s.py:s"


# With its settings, of which only the first is named here: they are Optuna's.
TO_MEDIAN = r'pruner\.interval_steps: absent -> 1; .*pruner\.type: "NopPruner" -> "MedianPruner"'
SAFE = [
    pytest.param(
        {"space": {**SPACE, "x": FloatDistribution(0.0, 2.0)}}, r"space\.x\.attributes\.high: 1\.0 -> 2\.0", id="range"
    ),
    pytest.param({"pruner": MedianPruner()}, TO_MEDIAN, id="pruner"),
    pytest.param({"warm_starts": [{"x": 0.5}]}, r'warm_starts: \[\] -> \[{"x": 0\.5}\]', id="warm-starts"),
    pytest.param({"budget": Budget(trials=3, max_epochs=9)}, r"budget\.max_epochs: 50 -> 9", id="epochs"),
]
UNSAFE = [
    pytest.param(
        {"space": {**SPACE, "kind": CategoricalDistribution(["a", "c"])}},
        r'space\.kind\.attributes\.choices: \["a", "b"\] -> \["a", "c"\]',
        id="choices",
    ),
    pytest.param({"seed": 7}, "seed: 0 -> 7", id="seed"),
    pytest.param({"direction": "minimize"}, 'direction: "maximize" -> "minimize"', id="direction"),
    pytest.param({"task": lambda params, trial: 1.0}, r'task\.function: "score" -> ".*lambda', id="function"),
    pytest.param({"pruner": MedianPruner(), "seed": 7}, f"{TO_MEDIAN}; seed: 0 -> 7", id="safe-and-not"),
]


def _stored(storage: BaseStorage) -> tuple[dict[str, Any], str]:
    attrs = stored_study.load(storage, "s").user_attrs
    return attrs["definition"], attrs["fingerprint"]


@pytest.mark.parametrize(("fields", "difference"), SAFE)
def test_a_safe_change_is_refused_until_it_is_accepted(
    fields: dict[str, Any], difference: str, storage: BaseStorage, run_dir: RunDir
) -> None:
    """The error shows the difference and both ways out; accepted, it replaces what was recorded."""
    stored_study.create_or_resume(storage, _definition(), run_dir)
    before, changed = _stored(storage), _definition(**fields)
    with pytest.raises(StudyChanged, match=rf"'s' has changed.*: {difference}\. .*--name, or accept .* with --amend\."):
        stored_study.create_or_resume(storage, changed, run_dir)
    assert _stored(storage) == before
    _, is_new = stored_study.create_or_resume(storage, changed, run_dir, amend=True)
    assert not is_new
    assert _stored(storage) == (json.loads(json.dumps(changed.definition.as_json())), changed.definition.fingerprint)
    assert json.loads(run_dir.definition("s").read_text()) == _stored(storage)[0]
    stored_study.create_or_resume(storage, changed, run_dir)
    with pytest.raises(StudyChanged, match="has changed since its first launch"):
        stored_study.create_or_resume(storage, _definition(), run_dir)


@pytest.mark.parametrize("amend", [False, True], ids=["as-it-is", "with-amend"])
@pytest.mark.parametrize(("fields", "difference"), UNSAFE)
def test_a_change_that_makes_trials_incomparable_is_always_refused(
    fields: dict[str, Any], difference: str, storage: BaseStorage, run_dir: RunDir, *, amend: bool
) -> None:
    """The error shows the difference and the one way out; nothing is written."""
    stored_study.create_or_resume(storage, _definition(), run_dir)
    before = _stored(storage)
    with pytest.raises(StudyChanged, match=rf"cannot be compared: {difference}.*\. Launch it .* --name\.") as refused:
        stored_study.create_or_resume(storage, _definition(**fields), run_dir, amend=amend)
    assert "--amend" not in str(refused.value)
    assert "\n" not in str(refused.value)
    assert _stored(storage) == before
    assert json.loads(run_dir.definition("s").read_text()) == before[0]


def test_other_code_is_refused_until_it_is_accepted(storage: BaseStorage, run_dir: RunDir) -> None:
    """It says which part of which file; whoever has the code that was recorded before is told then."""
    ours, theirs = (_definition(file="s.py", code={"score": code, "helpers.py": "1"}) for code in ("1111", "2222"))
    study, _ = stored_study.create_or_resume(storage, ours, run_dir)
    study.add_trial(optuna.trial.create_trial(value=0.5))
    message = r"'s' has changed since its first launch: score in s\.py differs\. .*--name, or accept .*with --amend\.$"
    with pytest.raises(StudyChanged, match=message):
        stored_study.create_or_resume(storage, theirs, run_dir)
    study, _ = stored_study.create_or_resume(storage, theirs, run_dir, amend=True)
    assert study.user_attrs["code"] == theirs.code
    with pytest.raises(StudyChanged, match=message):
        stored_study.create_or_resume(storage, ours, run_dir)


def test_code_that_gave_no_result_may_be_mended(storage: BaseStorage, run_dir: RunDir) -> None:
    """Nothing has to be comparable yet: the same command runs again what failed."""
    study, _ = stored_study.create_or_resume(storage, _definition(code={"score": "1111"}), run_dir)
    study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL))
    study, _ = stored_study.create_or_resume(storage, _definition(code={"score": "2222"}), run_dir)
    assert study.user_attrs["code"] == {"score": "2222"}


@pytest.mark.parametrize(
    ("fields", "amended"),
    [
        pytest.param({}, False, id="nothing"),
        pytest.param({"budget": Budget(trials=99)}, False, id="more-trials"),
        pytest.param({"pruner": MedianPruner()}, True, id="definition"),
        pytest.param({"code": {"score": "2222"}}, True, id="code"),
    ],
)
def test_an_amended_study_is_noticed(
    fields: dict[str, Any], storage: BaseStorage, run_dir: RunDir, *, amended: bool
) -> None:
    """By those who work on it with the definition or the code that it had before; a raised budget is neither."""
    before = _definition(code={"score": "1111"})
    study, _ = stored_study.create_or_resume(storage, before, run_dir)
    stored_study.create_or_resume(storage, _definition(**{"code": before.code, **fields}), run_dir, amend=True)
    assert stored_study.is_amended(study, before) is amended


def test_a_budget_is_lowered_only_when_asked_for(storage: BaseStorage, run_dir: RunDir) -> None:
    """Others may work on it; nothing is written."""
    study, _ = stored_study.create_or_resume(storage, _definition(budget=Budget(trials=9)), run_dir)
    lower = _definition(budget=Budget(trials=4))
    study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING))
    message = (
        r"'s' has a budget of 9 trials, and 4 is less; 1 run now\. Continue with --trials 9, or lower .* with --amend: "
        "running trials end, and no more are begun"
    )
    with pytest.raises(StudyChanged, match=message):
        stored_study.create_or_resume(storage, lower, run_dir)
    assert study.user_attrs["budget"] == 9
    stored_study.create_or_resume(storage, lower, run_dir, amend=True)
    assert study.user_attrs["budget"] == 4


def test_another_name_makes_a_study_of_its_own(storage: BaseStorage, run_dir: RunDir) -> None:
    """Which is what the refusal advises."""
    stored_study.create_or_resume(storage, _definition(), run_dir)
    _, is_new = stored_study.create_or_resume(storage, _definition(seed=7).with_overrides(name="t"), run_dir)
    assert is_new
    assert stored_study.names(storage) == ["s", "t"]


def test_a_study_that_hpo_did_not_launch_is_refused(storage: BaseStorage, run_dir: RunDir) -> None:
    """Its trials mean something else; nothing is written to it."""
    foreign = optuna.create_study(storage=storage, study_name="s")
    foreign.add_trial(optuna.trial.create_trial(value=0.5))
    with pytest.raises(StudyError, match=r"holds a study 's' that hpo did not launch\. Choose another --name"):
        stored_study.create_or_resume(storage, _definition(), run_dir)
    assert foreign.user_attrs == {}
    with pytest.raises(StudyError, match="hpo did not launch the study 's', so there is nothing to run it by"):
        study_code.found_again(foreign)


@pytest.mark.parametrize("trials", [True, False], ids=["with-trials", "empty"])
def test_a_study_with_a_definition_of_another_program_is_refused(
    trials: bool, storage: BaseStorage, run_dir: RunDir
) -> None:
    """By whatever reads a definition; what the other program wrote stays."""
    foreign = foreign_study(storage, "s") if trials else optuna.create_study(storage=storage, study_name="s")
    foreign.set_user_attr("definition", {"settings": 5})
    before = foreign.user_attrs
    with pytest.raises(StudyError, match=r"holds a study 's' that hpo did not launch\. Choose another --name"):
        stored_study.create_or_resume(storage, _definition(), run_dir)
    with pytest.raises(StudyError, match="hpo did not launch the study 's', so there is nothing to run it by"):
        study_code.found_again(foreign)
    definition = _definition()
    assert stored_study.resumed(storage, definition) is not None
    assert stored_study.recorded(foreign) == {}
    assert foreign.user_attrs == before


@pytest.mark.parametrize("directions", [["minimize"], ["minimize", "maximize"]], ids=["other", "two"])
def test_an_empty_study_of_another_direction_is_refused(
    directions: list[str], storage: BaseStorage, run_dir: RunDir
) -> None:
    """Optuna fixes a study's direction when it is made: the worst trial would be called the best."""
    empty = optuna.create_study(storage=storage, study_name="s", directions=directions)
    with pytest.raises(StudyError, match=r"empty study 's' of another direction than 'maximize'\. .* another --name"):
        stored_study.create_or_resume(storage, _definition(direction="maximize"), run_dir)
    assert empty.user_attrs == {}


def test_an_empty_study_of_the_same_direction_is_taken_over(storage: BaseStorage, run_dir: RunDir) -> None:
    """As a launch leaves it that was killed before it had recorded anything."""
    optuna.create_study(storage=storage, study_name="s", direction="minimize")
    definition = _definition(direction="minimize")
    study, is_new = stored_study.create_or_resume(storage, definition, run_dir)
    assert is_new
    assert study.user_attrs["fingerprint"] == definition.definition.fingerprint


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        pytest.param("fmnist-cn", "Did you mean fmnist-cnn", id="letter-missing"),
        pytest.param("qqq", "It holds: digits, fmnist-cnn", id="nothing-like-it"),
    ],
)
def test_an_unknown_study_gives_the_nearest(name: str, hint: str, storage: BaseStorage) -> None:
    """And the storage that was asked, which may be another than was meant."""
    for stored in ("fmnist-cnn", "digits"):
        optuna.create_study(storage=storage, study_name=stored)
    with pytest.raises(StudyError, match=rf"The storage sqlite:////.*/hpo\.db holds no study called '{name}'\. {hint}"):
        stored_study.load(storage, name)


def test_an_empty_storage_holds_none(storage: BaseStorage) -> None:
    """The error says how to start a study."""
    with pytest.raises(StudyError, match=r"It holds: none\. `hpo launch --study s --storage \S+` starts one"):
        stored_study.load(storage, "s")


def test_no_message_shows_the_password(postgres: str, run_dir: RunDir) -> None:
    """A terminal, a log and a bug report are no places for it."""
    secret = make_url(postgres).set(password="canary-4k")
    storage = open_storage(resolve_url(secret.render_as_string(hide_password=False), run_dir), write=True)
    with pytest.raises(StudyError, match=r"The storage postgresql\S+:\*\*\*@\S+ holds no study") as refused:
        stored_study.load(storage, "a-study-that-nobody-made")
    assert "canary-4k" not in str(refused.value)
    backend_of(storage).engine.dispose()


def test_other_data_are_refused(storage: BaseStorage) -> None:
    """A file of one's own is altered in its place; trials on the one and the other cannot be compared."""
    study = optuna.create_study(storage=storage, study_name="s")
    stored_study.check_data(study, "a" * 64)
    study.set_user_attr("data_sha256", "a" * 64)
    stored_study.check_data(study, "a" * 64)
    with pytest.raises(
        StudyChanged, match=r"SHA-256 is bbbbbbbbbbbb…, and was aaaaaaaaaaaa…\. Launch it under another"
    ):
        stored_study.check_data(study, "b" * 64)


def test_a_launch_that_came_to_nothing_leaves_nothing(storage: BaseStorage, run_dir: RunDir) -> None:
    """So that the next one is a first one again."""
    study, _ = stored_study.create_or_resume(storage, _definition(), run_dir)
    stored_study.delete(study, run_dir)
    assert stored_study.names(storage) == []
    assert not run_dir.definition("s").exists()
    assert stored_study.create_or_resume(storage, _definition(seed=7), run_dir)[1]
