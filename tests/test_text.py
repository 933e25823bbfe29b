"""What anybody wrote becomes one line that does nothing."""

import pytest

from hpo.text import count_text, figure_text, one_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param("größer [als] 3|4 <b> 犬", "größer [als] 3|4 <b> 犬", id="plain"),
        pytest.param("\x1b[1;31mred\x1b[0m and \x1b[2Jgone", "red and gone", id="colours"),
        pytest.param("one\r\n\n  two\tthree\u2028four\x85", "one two three four", id="line-breaks"),
        pytest.param("a\x00b\x07c\x7fd\x1b]0;title\x9be", "abcd]0;titlee", id="control-characters"),
        pytest.param("admin\u202egpj\u200b.exe\ufeff\ud800", "admingpj.exe", id="invisible"),
    ],
)
def test_a_text_is_one_line_that_does_nothing(text: str, line: str) -> None:
    """Neither to a terminal nor to the order of a line; what can be read stays."""
    assert one_line(text) == line


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.94306, "0.9431"), (0.0, "0.0000"), (-0.00001234567, "-1.235e-05"), (12.0, "12.0000"), (None, "…")],
)
def test_a_figure_says_something_however_small(value: float | None, text: str) -> None:
    """A loss of 0.00002 is not 0.0000."""
    assert figure_text(value) == text


def test_a_count_agrees_with_its_noun() -> None:
    """One trial, two trials, no trials."""
    assert [count_text(number, "trial") for number in (0, 1, 2)] == ["0 trials", "1 trial", "2 trials"]
