"""The arrows of the design: which part may know which. Read from the source, nothing is imported."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"
TECHNIQUES = {"saliency", "fool", "visualize_class", "stylize", "caption", "gan"}
HEAVY = {"torch", "torchvision", "timm"}
ASK_FOR_THE_REFERENCE = {("caption", name) for name in ("check.py", "numpy_engine.py", "numpy_training.py")}
"""``caption check`` and ``--engine numpy`` are about the reference itself."""
MODULES = sorted(path.relative_to(SOURCE) for path in (SOURCE / "cvtool").rglob("*.py"))


def imported(path: Path, *, module_level: bool = False) -> set[str]:
    """Dotted names a module imports, also inside functions; those for type checkers only do not count."""
    return imported_by(ast.parse((SOURCE / path).read_text("utf-8")), path.parent.parts, module_level)


def imported_by(tree: ast.Module, package: tuple[str, ...], module_level: bool = False) -> set[str]:
    names: set[str] = set()
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        if module_level and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            whole = ".".join([*base, *([node.module] if node.module else [])])
            names |= {whole, *(f"{whole}.{alias.name}" for alias in node.names)}
        waiting += ast.iter_child_nodes(node)
    return names


def parts_of_cvtool(names: set[str]) -> set[str]:
    """``{"cvtool.stylize.options", "numpy"}`` → ``{"stylize"}``."""
    return {name.split(".")[1] for name in names if name.startswith("cvtool.")}


def test_the_reader_of_imports_sees_all_kinds() -> None:
    source = """
import numpy.random
from cvtool.stylize import options
from ..fool import attacks
from . import near
def later():
    import torch
if TYPE_CHECKING:
    import timm
"""
    package = ("cvtool", "gan")
    names = imported_by(ast.parse(source), package)
    assert {"numpy.random", "cvtool.stylize.options", "cvtool.fool.attacks", "cvtool.gan.near", "torch"} <= names
    assert not any(name.startswith("timm") for name in names)
    assert "torch" not in imported_by(ast.parse(source), package, module_level=True)


def test_there_is_something_to_check() -> None:
    assert len(MODULES) > 20


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_arrows_point_down(path: Path) -> None:
    part = path.parts[1].removesuffix(".py")
    known = parts_of_cvtool(imported(path))
    if part in TECHNIQUES:
        assert not known & (TECHNIQUES - {part}), "techniques never import each other"
    elif part not in {"cli", "__main__"}:
        assert not known & TECHNIQUES, "what techniques share knows none of them"
    if part not in {"cli", "__main__"}:
        assert "cli" not in known, "nothing imports the command line"
        assert not imported(path) & {"typer", "rich"}, "Typer and Rich belong to the command line"
    if part != "reference" and path.parts[1:] not in ASK_FOR_THE_REFERENCE:
        assert "reference" not in known, "the reference is for tests, not for use"


@pytest.mark.parametrize("path", [p for p in MODULES if p.parts[1] == "reference"], ids=str)
def test_reference_is_a_leaf_that_uses_numpy_only(path: Path) -> None:
    foreign = {
        name
        for name in imported(path)
        if not name.startswith("cvtool.reference")
        and name.split(".")[0] not in {"numpy", "cvtool"} | sys.stdlib_module_names
    }
    assert not foreign
    assert parts_of_cvtool(imported(path)) <= {"reference"}


@pytest.mark.parametrize("path", [p for p in MODULES if p.parts[1] in {"errors.py", "progress.py"}], ids=str)
def test_errors_and_progress_import_nothing_of_ours(path: Path) -> None:
    roots = {name.split(".")[0] for name in imported(path)}
    assert roots <= sys.stdlib_module_names


@pytest.mark.parametrize("path", [p for p in MODULES if p.parts[1] == "cli" or p.name == "options.py"], ids=str)
def test_the_command_line_and_all_options_load_without_torch(path: Path) -> None:
    roots = {name.split(".")[0] for name in imported(path, module_level=True)}
    assert not roots & HEAVY
    assert not roots & {"click"}, "Typer ships its own Click"


SAFE_WITH = {
    "torch.load": ("weights_only", "True"),
    "np.load": ("allow_pickle", "False"),
    "numpy.load": ("allow_pickle", "False"),
}


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_nothing_unpickles(path: Path) -> None:
    tree = ast.parse((SOURCE / path).read_text("utf-8"))
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        function = ast.unparse(call.func)
        if function in SAFE_WITH:
            option, value = SAFE_WITH[function]
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            assert given.get(option) == value, f"line {call.lineno}"
        assert function.split(".")[0] not in {"dill", "joblib", "shelve", "cloudpickle"}, f"line {call.lineno}"
        # UnpicklingError may be caught, but nothing of pickle may be called.
        assert function not in {"pickle.load", "pickle.loads", "pickle.Unpickler", "Unpickler"}, f"line {call.lineno}"
