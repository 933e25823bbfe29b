"""Standard error is hidden if all goes well, and shown if there is a bug."""

import subprocess
import sys

import pytest

WRITE = "import os, sys; from hpo.cli.stderr import silenced; from hpo.errors import HpoError\nwith silenced():\n"
WRITE += "    os.write(2, b'from C++\\n'); print('from Python', file=sys.stderr)\n"


@pytest.mark.parametrize(
    ("then", "shown"),
    [
        pytest.param("    pass", False, id="all-well"),
        pytest.param("    raise HpoError('ours')", False, id="our-own-error"),
        pytest.param("    raise KeyError('a bug')", True, id="a-bug"),
    ],
)
def test_noise_is_shown_only_with_a_bug(then: str, shown: bool) -> None:
    """From libraries in C++ and in Python; afterwards standard error is as before."""
    script = f"try:\n    exec({WRITE + then!r})\nexcept Exception: pass\nimport sys; print('after', file=sys.stderr)"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ("from C++" in answer.stderr) == shown
    assert ("from Python" in answer.stderr) == shown
    assert answer.stderr.endswith("after\n")
