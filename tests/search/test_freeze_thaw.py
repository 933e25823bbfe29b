"""What the freeze-thaw search decides, by curves alone."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from hpo.search.curve import Curve
from hpo.search.freeze_thaw import FINISHED, Begin, Continue, FreezeThaw
from hpo.study.space import Space

MOST = 20
SPACE = Space({"rate": FloatDistribution(1e-4, 1.0, log=True), "width": IntDistribution(1, 64)})


def _level(rate: float) -> float:
    """Best at a rate of 0.01."""
    return 0.9 - 0.1 * abs(math.log10(rate) + 2)


def _values(rate: float, epochs: int, shape: str = "rising") -> list[float]:
    """A curve, the first epochs of it."""
    whole = {
        "rising": [_level(rate) * (1 - 0.7 ** (epoch + 1)) for epoch in range(MOST)],
        "constant": [0.5] * MOST,
        "falling": [_level(rate) - 0.02 * epoch for epoch in range(MOST)],
        "infinite": [-1e100] * MOST,
    }[shape]
    return whole[:epochs]


def _curves(count: int, shape: str = "rising", **fields: Any) -> list[Curve]:
    """Configurations that are paused after different numbers of epochs."""
    random = np.random.default_rng(7)
    rates, widths = 10 ** random.uniform(-4, 0, count), random.integers(1, 65, count)
    return [
        Curve(
            number=number,
            params={"rate": float(rates[number]), "width": int(widths[number])},
            values=_values(rates[number], (1, 2, 4, 8)[number % 4], shape),
            epochs=MOST,
            **{"state": "paused", **fields},
        )
        for number in range(count)
    ]


def _search(space: Space = SPACE, **fields: Any) -> FreezeThaw:
    return FreezeThaw(space, MOST, **{"seed": 0, "hints": {}, **fields})


def _run(search: FreezeThaw, trials: int) -> list[Curve]:
    """Run configurations one at a time to the end of the search."""
    curves: list[Curve] = []
    while (decision := search.next(curves, may_begin=len(curves) < trials)) is not None:
        if isinstance(decision, Begin):
            number, params, values = len(curves), decision.params, []
            curves.append(Curve(number=number, params=params, values=(), epochs=MOST, state="paused"))
        else:
            number, params = decision.number, curves[decision.number].params
            values = list(curves[number].values)
        epochs = search.pause_after(len(values), MOST)
        state = "ended" if epochs == MOST else "paused"
        values = _values(params["rate"], epochs)
        curves[number] = Curve(number=number, params=params, values=values, epochs=MOST, state=state)  # type: ignore[arg-type]
    return curves


def _decisions(curves: list[Curve]) -> list[Begin | Continue | None]:
    """What different seeds decide by the same curves."""
    return [_search(seed=seed).next(curves) for seed in range(20)]


def test_the_best_are_found_and_trained_to_their_end() -> None:
    """Most configurations are left after a few epochs, the best few have all of theirs, and the rates are good ones."""
    curves = _run(_search(), 30)
    best = sorted(curves, key=lambda curve: -_level(curve.params["rate"]))
    assert sum(len(curve.values) for curve in curves) < 0.5 * 30 * MOST
    assert sum(curve.state == "ended" for curve in curves) >= FINISHED
    assert best[0].state == "ended"
    assert _level(best[0].params["rate"]) > 0.88
    late = [_level(curve.params["rate"]) for curve in curves[15:]]
    assert np.mean(late) > np.mean([_level(curve.params["rate"]) for curve in curves[:4]]) + 0.05


def test_the_same_seed_gives_the_same_search_and_another_another() -> None:
    """In any process: nothing is remembered from one decision to the next."""
    one, two, other = _run(_search(), 8), _run(_search(), 8), _run(_search(seed=1), 8)
    assert one == two
    assert one != other


def test_no_configuration_begins_twice() -> None:
    """A space of few configurations ends when all have begun; then the best are finished."""
    space = Space({"rate": CategoricalDistribution([0.001, 0.01, 0.1]), "width": IntDistribution(1, 3)})
    curves = _run(_search(space), 100)
    assert len(curves) == 9
    assert len({(curve.params["rate"], curve.params["width"]) for curve in curves}) == 9
    assert sum(curve.state == "ended" for curve in curves) >= FINISHED


def test_what_the_model_proposes_may_train_for_the_most_epochs() -> None:
    """Others could not be continued; what the sequence draws has any number, and so has a function's own parameter."""
    space = Space({**SPACE.parameters, "epochs": IntDistribution(1, MOST)})
    curves = [replace(curve, params={**curve.params, "epochs": MOST}, state="ended") for curve in _curves(12)]
    searched = [_search(space, seed=seed).next(curves) for seed in range(40)]
    own = [FreezeThaw(space, 1, seed=seed, hints={}).next(curves) for seed in range(40)]
    for decisions, at_least, at_most in ((searched, 30, 40), (own, 0, 20)):
        most = sum(isinstance(each, Begin) and each.params["epochs"] == MOST for each in decisions)
        assert at_least <= most <= at_most


def test_a_configuration_promises_what_its_own_epochs_reach() -> None:
    """Of two that are alike so far, the one that may go on is continued, though a single epoch is cheaper."""
    curves = _curves(12, state="ended")
    values = _values(0.01, 4)
    pair = [
        Curve(number=number, params={"rate": 0.01, "width": 32 + number}, values=values, epochs=epochs, state="paused")
        for number, epochs in ((12, 5), (13, MOST))
    ]
    continued = [_search(seed=seed).next([*curves, *pair], may_begin=False) for seed in range(5)]
    assert continued == [Continue(13)] * 5


@pytest.mark.parametrize("shape", ["constant", "falling", "infinite"])
def test_strange_curves_are_curves(shape: str) -> None:
    """The search decides all the same."""
    for seed in range(5):
        assert isinstance(_search(seed=seed).next(_curves(12, shape)), Begin | Continue)


def test_failed_configurations_are_kept_away_from() -> None:
    """All that fail have rates above 0.1; little of what begins later has."""
    curves = [
        Curve(number=curve.number, params=curve.params, values=(), epochs=MOST, state="failed")
        if curve.params["rate"] > 0.1
        else curve
        for curve in _curves(24, state="ended")
    ]
    decisions = _decisions(curves)
    assert None not in decisions
    rates = [decision.params["rate"] for decision in decisions if isinstance(decision, Begin)]
    assert np.mean([rate > 0.1 for rate in rates] or [0]) < 0.25


def test_workers_that_ask_one_after_another_get_different_ones() -> None:
    """What runs, and has no value yet, counts as what it is expected to reach."""
    curves = _curves(12)
    found = []
    for _ in range(6):
        decision = _search().next(curves)
        assert decision is not None
        found.append(decision)
        if isinstance(decision, Continue):
            number = decision.number
            curves[number] = replace(curves[number], state="running")
        else:
            curves.append(Curve(number=len(curves), params=decision.params, values=(), epochs=MOST, state="running"))
    keys = [str(decision) for decision in found]
    assert len(set(keys)) == 6


@pytest.mark.parametrize("cheap", [20, 21])
def test_of_two_equally_promising_ones_the_cheaper_goes_first(cheap: int) -> None:
    """Two have the same curve, the best of all, and one has taken ten times as long for it."""
    curves = [replace(curve, seconds=3.0) for curve in _curves(20)]
    for number in (20, 21):
        params, seconds = {"rate": 0.01, "width": 10 if number == 20 else 50}, 1.0 if number == cheap else 10.0
        values = [value + 0.1 for value in _values(0.01, 8)]
        curves.append(Curve(number=number, params=params, values=values, epochs=MOST, state="paused", seconds=seconds))
    chosen = [decision.number for decision in _decisions(curves) if isinstance(decision, Continue)]
    assert chosen.count(cheap) > 15 > chosen.count(41 - cheap)


def test_a_configuration_is_looked_at_ever_more_rarely() -> None:
    """And last at its own end, which may be earlier than that of others."""
    search = FreezeThaw(SPACE, 50, seed=0, hints={})
    looks = [0]
    while looks[-1] < 50:
        looks.append(search.pause_after(looks[-1], 50))
    gaps = np.diff(looks)
    assert 2 <= looks[1] <= 4
    assert (np.diff(gaps[1:-1]) >= 0).all()
    assert search.pause_after(0, 2) == 2


def test_what_cannot_be_continued_here_is_worth_less() -> None:
    """Its epochs would be trained again, as those of a new one."""
    near = Curve(number=0, params={"rate": 0.01, "width": 3}, values=_values(0.01, 8), epochs=MOST, state="paused")
    assert (near.done, replace(near, is_kept=lambda: False).done) == (8, 0)


def test_a_hint_helps_and_a_wrong_one_costs_little() -> None:
    """By how good the first four configurations are, and the best of ten, over six seeds."""
    first, best = {}, {}
    for name, hints in (("none", {}), ("right", {"rate": 0.01}), ("wrong", {"rate": 1.0})):
        runs = [_run(_search(seed=seed, hints=hints), 10) for seed in range(6)]
        levels = np.array([[_level(curve.params["rate"]) for curve in curves] for curves in runs])
        first[name], best[name] = levels[:, :4].mean(), np.median(levels.max(1))
    assert first["right"] > first["none"] > first["wrong"]
    assert best["wrong"] > best["none"] - 0.02
