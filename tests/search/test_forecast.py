"""What learning curves say of others."""

import math

import numpy as np
import pytest
from optuna.distributions import FloatDistribution

from hpo.search.curve import Curve
from hpo.search.encoding import Encoding
from hpo.search.forecast import Forecast, Scale, log_seconds, looks, next_look, rows_of
from hpo.study.space import Space

ENCODING = Encoding(Space({"x": FloatDistribution(0, 1)}), {})
MOST = 20


def _curve(number: int, x: float, epochs: int = MOST, state: str = "ended", seconds: float | None = None) -> Curve:
    """It rises to 1 - |x - 0.5|."""
    values = [(1 - abs(x - 0.5)) * (1 - math.exp(-epoch / 5)) for epoch in range(1, epochs + 1)]
    return Curve(number=number, params={"x": x}, values=values, epochs=MOST, state=state, seconds=seconds)  # type: ignore[arg-type]


CURVES = [_curve(number, x) for number, x in enumerate(np.linspace(0, 1, 9))]


@pytest.mark.parametrize(
    ("most", "expected"),
    [(50, [3, 4, 7, 10, 15, 22, 34, 50]), (9, [1, 2, 3, 5, 9]), (1, [1]), (2, [1, 2])],
)
def test_looks_lie_ever_further_apart(most: int, expected: list[int]) -> None:
    """From a seventeenth of the epochs to the last one, each once."""
    assert looks(most) == expected
    assert [next_look(expected, done, most) for done in [0, *expected[:-1]]] == expected
    assert next_look(expected, 0, 1) == 1


def test_scores_keep_the_order_and_bound_what_is_far_off() -> None:
    """A value that is a thousand times as large counts a few steps more, and equal values count the same."""
    scale = Scale(np.array([0.1, 0.2, 0.2, 0.3, 0.4, 400.0]))
    scores = [scale(value) for value in (0.1, 0.2, 0.3, 0.4, 400.0)]
    assert scores == sorted(scores)
    assert scores[-1] - scores[-2] < 3


def test_what_lies_near_good_curves_is_expected_to_be_good() -> None:
    """After the last epoch, and less so after the first; with less certainty than what was seen."""
    forecast = Forecast(CURVES, ENCODING, MOST)
    rows = rows_of([_curve(-1, 0.45), _curve(-1, 0.03), CURVES[4]], ENCODING)
    forecast.about(rows, np.array([-1, -1, 4]))
    mean, deviation = forecast.at(np.full(3, MOST), np.arange(3))
    early, _deviation = forecast.at(np.full(3, 1), np.arange(3))
    assert mean[0] > mean[1]
    assert early[0] < mean[0]
    assert deviation[2] < deviation[0]


def test_what_runs_counts_as_what_it_is_expected_to_reach() -> None:
    """So that a worker that asks at the same moment is not sent there: no more can be learned."""
    running = Curve(number=9, params={"x": 0.52}, values=(), epochs=MOST, state="running")
    rows = rows_of([running], ENCODING)
    alone, beside = Forecast(CURVES, ENCODING, MOST), Forecast([*CURVES, running], ENCODING, MOST)
    for forecast in (alone, beside):
        forecast.about(rows, np.array([-1]))
    first = np.array(looks(MOST)[:1])
    assert beside.at(first, np.array([0]))[1][0] < alone.at(first, np.array([0]))[1][0]


def test_seconds_are_learned_or_taken_as_equal() -> None:
    """Compared with the mean, on a logarithmic scale."""
    assert list(log_seconds(CURVES, rows_of(CURVES, ENCODING), ENCODING)) == [0.0] * 9
    timed = [_curve(number, x, seconds=1 + 9 * x) for number, x in enumerate(np.linspace(0, 1, 9))]
    found = log_seconds(timed, rows_of([timed[1], timed[7]], ENCODING), ENCODING)
    assert found[0] < 0 < found[1]
