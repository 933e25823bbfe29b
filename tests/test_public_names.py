"""What others may call says what it does."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import hpo

ROOT = Path(hpo.__file__).parent
FILES = sorted(path for path in ROOT.rglob("*.py") if ROOT / "studies" not in path.parents)

# Methods that give a path of ``HPO_HOME`` and nothing else: their names are all there is to say.
PATHS = {"RunDir.study", "RunDir.definition", "RunDir.environment", "RunDir.logs"}
# Documented once, in the protocol that a data set's origin implements.
OF_A_PROTOCOL = {"Digits.cache_key", "Digits.read", "IdxSource.cache_key"}


def _undocumented(node: ast.Module | ast.ClassDef, prefix: str = "") -> Iterator[str]:
    """The public functions, classes and methods in ``node`` without a docstring; properties read like fields."""
    for child in node.body:
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or child.name.startswith("_"):
            continue
        decorators = {ast.unparse(decorator) for decorator in child.decorator_list}
        if ast.get_docstring(child) is None and not decorators & {"property", "functools.cached_property"}:
            yield prefix + child.name
        if isinstance(child, ast.ClassDef):
            yield from _undocumented(child, f"{prefix}{child.name}.")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_names_have_docstrings(path: Path) -> None:
    """Every module, function, class and method that does not start with an underscore."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "the module has none"
    assert set(_undocumented(tree)) - PATHS - OF_A_PROTOCOL == set()


def test_exceptions_are_still_needed() -> None:
    """A name that has gone, or has a docstring by now, leaves the lists above."""
    undocumented = {name for path in FILES for name in _undocumented(ast.parse(path.read_text(encoding="utf-8")))}
    assert undocumented >= PATHS | OF_A_PROTOCOL


@pytest.mark.parametrize(
    ("code", "names"),
    [
        pytest.param("def f(): pass", ["f"], id="function"),
        pytest.param("async def f(): pass", ["f"], id="async-function"),
        pytest.param("class C:\n    def m(self): pass", ["C", "C.m"], id="class-and-method"),
        pytest.param("class C:\n    '''.'''\n    @classmethod\n    def m(cls): pass", ["C.m"], id="class-method"),
        pytest.param("class C:\n    '''.'''\n    class D: pass", ["C.D"], id="class-in-a-class"),
        pytest.param("class C:\n    '''.'''\n    @property\n    def p(self): pass", [], id="property"),
        pytest.param("class C:\n    '''.'''\n    def __call__(self): pass", [], id="dunder"),
        pytest.param("def _f(): pass\nclass _C:\n    def m(self): pass", [], id="private"),
        pytest.param("def f():\n    '''.'''\n    def g(): pass", [], id="function-in-a-function"),
    ],
)
def test_names_are_found(code: str, names: list[str]) -> None:
    """The test above would pass over what it does not find."""
    assert list(_undocumented(ast.parse(code))) == names


@pytest.mark.parametrize("name", hpo.__all__)
def test_what_a_study_file_imports_is_there(name: str) -> None:
    """The package imports its names when they are asked for, so that a wrong one would show only then."""
    assert getattr(hpo, name).__name__ == name
    assert getattr(hpo, name).__doc__


def test_other_names_are_no_attributes() -> None:
    """A typing error in a study file is the error that Python gives for it."""
    with pytest.raises(AttributeError, match="module 'hpo' has no attribute 'Study'"):
        _ = hpo.Study
