"""A study that was made in this process, such as in a notebook: its code is that of its functions."""

import ast
import contextlib
import hashlib
import inspect
import sys
import textwrap
import types
from collections.abc import Callable, Iterator
from typing import Any

from hpo.study.code_hash import stock_code, text_of
from hpo.study.found import FoundStudy, Study
from hpo.study.task import Train, name_of


def found_live(study: Study) -> FoundStudy:
    """``study`` with the hashes of its functions' source, and of the functions and classes that these use by name."""
    task = study.task
    functions = [task.model, task.prepare] if isinstance(task, Train) else [task]
    code: dict[str, str] = {}
    for part in [function for function in functions if function is not None]:
        _collect(part, code)
    return FoundStudy(study, code=code)


def _collect(part: Any, code: dict[str, str]) -> None:
    """Add the hash of ``part`` to ``code``, by its name, and those of what it uses."""
    part = inspect.unwrap(getattr(part, "func", part))  # of functools.partial
    if str(getattr(part, "__module__", "")).startswith("hpo.models."):
        code |= stock_code()
        return
    name = name_of(part)
    if name in code:
        return
    code[name] = hashlib.sha256(_source(part).encode()).hexdigest()[:16]
    for used, value in _used(part):
        if isinstance(value, types.FunctionType | type) and _is_own(value):
            _collect(value, code)
        elif isinstance(value, str | int | float | bool | tuple | list | dict | None):
            code[used] = hashlib.sha256(repr(value).encode()).hexdigest()[:16]


def _source(part: Any) -> str:
    """The source without comments and formatting; of what has none, such as a function made by a call, its bytecode."""
    try:
        return text_of(ast.parse(textwrap.dedent(inspect.getsource(part))))
    except (OSError, TypeError, SyntaxError):
        bytecode = getattr(getattr(part, "__code__", None), "co_code", b"")
        return bytecode.hex() or name_of(part)


def _used(part: Any) -> Iterator[tuple[str, Any]]:
    """The global and enclosing variables that a function or a class uses, with their values."""
    functions = [value for value in vars(part).values() if callable(value)] if isinstance(part, type) else [part]
    for function in functions:
        if not isinstance(function, types.FunctionType):
            continue
        with contextlib.suppress(ValueError):  # a variable that has no value yet
            found = inspect.getclosurevars(function)
            yield from {**found.globals, **found.nonlocals}.items()


def _is_own(value: Callable[..., Any]) -> bool:
    """Whether a function or a class is neither Python's nor a package's."""
    file = getattr(sys.modules.get(value.__module__), "__file__", None) or ""
    is_installed = "site-packages" in file or file.startswith(sys.base_prefix)
    return value.__module__ == "__main__" or (bool(file) and not is_installed)
