"""The code that builds and trains a study's models, as hashes: two people, or two launches, may have different code.

Comments, docstrings and formatting do not count, nor does what a study's `as_json` compares already, such as
its budget. What counts: the statements of the study file that a study's `task` (its `model` and `prepare`), `sampler`
and `pruner` reach by name, the whole modules beside the file that it imports, and `hpo.models` if a stock builder is
among them.
"""

import ast
import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

# The arguments of a study and its task that are code; all others are data, which its `as_json` has.
_CODE = {"task", "model", "prepare", "sampler", "pruner"}
_MAKERS = {"Search", "Comparison", "Train"}
_MODELS = Path(__file__).parents[1] / "models"
_DOCUMENTED = (ast.Module, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)

Code = Mapping[str, str]
_Statement = tuple[set[str], ast.stmt]


def code_of(
    path: Path, variables: set[str], *, studies: set[str], siblings: Iterable[Path], stock: bool
) -> dict[str, str]:
    """A hash (16 hexadecimal digits of SHA-256) of each part of the code that a study reaches, by the part's name.

    Args:
        path: of the study file.
        variables: the file's variables that hold the study; if the file gives them no value by name, all of it counts.
        studies: those that hold any study.
        siblings: the files beside it that it imports.
        stock: whether `hpo.models` builds its models, whatever the file says.
    """
    statements = list(_statements(_tree(path), studies))
    reached = _reached(statements, variables)
    hashes: dict[str, Any] = {}
    for names, node in reached:
        hashes.setdefault(", ".join(sorted(names)) or "the top level", hashlib.sha256()).update(text_of(node).encode())
    code = {name: found.hexdigest()[:16] for name, found in hashes.items()}
    for file in siblings:
        code[file.relative_to(path.parent).as_posix()] = _file_digest(file)
    return code | stock_code() if stock or any(_is_stock(node) for _, node in reached) else code


def digest(code: Code) -> str:
    """One hash (16 hexadecimal digits of SHA-256) of all parts."""
    return hashlib.sha256(json.dumps(dict(code), sort_keys=True).encode()).hexdigest()[:16]


def differences(recorded: Code, here: Code, file: str) -> list[str]:
    """One line for each part in which the ``recorded`` code and that of the study ``file`` differ."""
    lines = []
    for part in sorted(name for name in recorded.keys() | here.keys() if recorded.get(name) != here.get(name)):
        change = "is new" if part not in recorded else "is gone" if part not in here else "differs"
        lines.append(f"{part} {change}" if part.endswith(".py") else f"{part} in {file} {change}")
    return lines


def imported(path: Path) -> set[str]:
    """The top-level names of all modules that a file imports, anywhere in it; none if Python cannot read it."""
    names: set[str] = set()
    try:
        tree = _tree(path)
    except (SyntaxError, ValueError):
        return names
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


@functools.cache
def stock_code() -> dict[str, str]:
    """A hash of each module of `hpo.models`."""
    return {f"hpo/models/{path.name}": _file_digest(path) for path in sorted(_MODELS.glob("*.py"))}


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes())


def _file_digest(path: Path) -> str:
    try:
        code = text_of(_tree(path)).encode()
    except (SyntaxError, ValueError):  # a template, or one of an older Python, which lies in a package unused
        code = path.read_bytes()
    return hashlib.sha256(code).hexdigest()[:16]


def text_of(node: object) -> str:
    """A syntax tree as text, without docstrings and places; the same in all versions of Python (`ast.dump` is not)."""
    if isinstance(node, list):
        return f"[{','.join(map(text_of, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = dict(ast.iter_fields(node))
    if isinstance(node, _DOCUMENTED):
        fields["body"] = [statement for statement in node.body if not _is_text(statement)]
    # A field that is empty may be unknown to an older version; `kind` is the u of u"text".
    shown = {name: value for name, value in fields.items() if value not in (None, []) and name != "kind"}
    return f"{type(node).__name__}({','.join(f'{name}={text_of(value)}' for name, value in shown.items())})"


def _is_text(statement: ast.stmt) -> bool:
    """Whether a statement is nothing but a text, such as a docstring."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


class _WithoutData(ast.NodeTransformer):
    """Leaves of each call that makes a study or its task its code alone."""

    def __init__(self, makers: set[str]) -> None:
        self._makers = makers

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if (node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")) in self._makers:
            node.keywords = [keyword for keyword in node.keywords if keyword.arg is None or keyword.arg in _CODE]
        return node


def _statements(tree: ast.Module, studies: set[str]) -> Iterator[_Statement]:
    """The statements of a module, each with the names that it gives a value to; an import of several as several."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from ((_names(alias), ast.Import(names=[alias])) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield _names(alias), ast.ImportFrom(module=node.module, names=[alias], level=node.level)
        elif not _is_text(node):
            # What is defined within a function is its own affair.
            names = _names(node) or {name for part in ast.walk(node) for name in _names(part)}
            # Of a study, `dataclasses.replace` makes another; of anything else, what it sets may be code.
            makers = _MAKERS | {"replace"} if names & studies else _MAKERS
            yield names, _WithoutData(makers).visit(node)


def _names(node: ast.AST) -> set[str]:
    """The variables that this part of a statement gives a value to, or to a part of it, as ``x.y`` and ``x[0]`` do."""
    if isinstance(node, ast.alias):
        return {(node.asname or node.name).partition(".")[0]} - {"*"}
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if not isinstance(getattr(node, "ctx", None), ast.Store):
        return set()
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return {node.id} if isinstance(node, ast.Name) else set()


def _reached(statements: list[_Statement], wanted: set[str]) -> list[_Statement]:
    """Those statements that decide the value of a ``wanted`` variable; all if one of these is not to be seen."""
    if not wanted or not wanted <= {name for names, _ in statements for name in names}:
        return statements
    reached: set[int] = set()
    before = -1
    while len(reached) > before:
        before = len(reached)
        for index, (names, node) in enumerate(statements):
            # A call that stands by itself, and `import *`, may change anything.
            if index not in reached and (names & wanted or not names):
                reached.add(index)
                wanted = wanted | {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    return [statement for index, statement in enumerate(statements) if index in reached]


def _is_stock(node: ast.stmt) -> bool:
    """Whether a statement, or what it defines, imports `hpo.models`."""
    for part in ast.walk(node):
        if isinstance(part, ast.Import) and any(f"{alias.name}.".startswith("hpo.models.") for alias in part.names):
            return True
        if isinstance(part, ast.ImportFrom):
            module = part.module or ""
            if f"{module}.".startswith("hpo.models.") or (
                module == "hpo" and any(alias.name == "models" for alias in part.names)
            ):
                return True
    return False
