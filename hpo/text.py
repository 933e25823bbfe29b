"""Texts that anybody may have written, such as a study's name or a failure, on one line of a terminal or a document."""

import re

_COLOUR = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")  # or another command to a terminal, ECMA-48's control sequence


def one_line(text: str) -> str:
    """``text`` without line breaks, colours, and other signs that a terminal obeys or that nobody sees."""
    return " ".join("".join(sign for sign in _COLOUR.sub("", text) if sign.isprintable() or sign.isspace()).split())
