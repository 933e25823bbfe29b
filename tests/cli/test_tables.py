"""Rows of records, as a spreadsheet and a terminal get them."""

import csv
import io
from typing import Any

import pytest

from hpo.cli.tables import print_csv, print_table


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-x", "@SUM(A1)", " =1+1", "\n=1+1", "\t\r\n @x", "\u00a0=1", "\ufeff-1", "\x00+1", "\tx"],
    ids=ascii,
)
def test_no_text_is_a_formula(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where what is not seen stands before the sign that begins one."""
    print_csv([{"state": text, "params": {"x": "1 = 1"}}])
    assert list(csv.reader(io.StringIO(capsys.readouterr().out, newline="")))[1] == [f"'{text}", "1 = 1"]


def test_texts_are_quoted_and_numbers_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    """Where a semicolon separates columns, a name or a value that has one stays one; a number can be reckoned with."""
    print_csv([{"number": 0, "value": -0.5, "failure": None, "params": {'a;"b"': "c;=1", "flag": True}}])
    assert capsys.readouterr().out.splitlines() == [
        '"number","value","failure","params.a;""b""","params.flag"',
        '0,-0.5,"","c;=1",True',
    ]


def test_a_table_does_what_its_texts_do_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text that holds colours or line breaks is one line without them."""
    monkeypatch.setenv("COLUMNS", "80")
    row: dict[str, Any] = {"name": "\x1b[31mred\x1b[0m\nnext\x07", "trials": 3, "description": "[b]x[/b]\r\n\x9by"}
    print_table([row])
    assert capsys.readouterr().out.splitlines()[1].rstrip() == "red next       3  [b]x[/b] y"


def test_a_table_is_cut_on_a_screen_and_whole_in_a_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever pipes it into grep looks for what a screen has no room for."""
    row: dict[str, Any] = {"name": "s", "description": 30 * "long "}
    monkeypatch.setenv("COLUMNS", "80")
    print_table([row])
    assert len(capsys.readouterr().out.splitlines()[1]) == 80
    monkeypatch.delenv("COLUMNS")
    print_table([row])
    assert capsys.readouterr().out.splitlines()[1].rstrip() == f"s     {30 * 'long '}".rstrip()
