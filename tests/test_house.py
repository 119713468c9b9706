"""The picture in CONTRIBUTING holds: a room imports only rooms that stand below it, and nothing dangerous is used."""

from __future__ import annotations

import ast
import re
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "llmseq_cli"
FLOORS = [
    {"errors", "progress", "_version"},
    {
        "settings",
        "devices",
        "backend",
        "ray_cluster",
        "machine",
        "files",
        "model_files",
        "printable",
        "checksums",
        "toml_files",
        "plugins",
    },
    {"store", "clients"},
    {"data"},
    {"evaluation"},
    {"embeddings"},
    {"models"},
    {"training"},
    {"bundle", "vector_stores"},
    {"tuning"},
    {"language_model"},
    {"providers"},
    {"finetuning"},
    {"prompting"},
    {"reporting"},
    {"serving"},
    {"workspace"},
    {"recipes"},
    {"cli"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
FILES = [file for file in sorted(PACKAGE.rglob("*.py")) if file.parent != PACKAGE or file.stem in FLOOR]


pytestmark = pytest.mark.xdist_group("house")  # each file is parsed once


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def room_of(file: Path) -> str:
    """A `__main__.py` is what the user types: it belongs to the command line."""
    first = file.relative_to(PACKAGE).parts[0]
    if file.name == "__main__.py":
        return "cli"
    return first.removesuffix(".py")


def imported_rooms(tree: ast.AST) -> set[str]:
    names = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    names += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("llmseq_cli.")}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_rooms_import_only_rooms_below(file):
    room = room_of(file)
    above = {other for other in imported_rooms(parsed(file)) if FLOOR[other] > FLOOR[room]}
    assert not above, f"{file.name} reaches up to {above}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_only_the_command_line_prints_or_exits_and_nothing_is_evaluated(file):
    tree = parsed(file)
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = {call.id for call in calls if isinstance(call, ast.Name)}
    forbidden = {"eval", "exec"} if room_of(file) == "cli" else {"eval", "exec", "print", "exit"}
    assert not names & forbidden
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert not modules & {"pickle", "dill", "shelve"}


def module_name(file: Path) -> str:
    return ".".join(("llmseq_cli", *file.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def imported_modules(file: Path, modules: set[str]) -> set[str]:
    """The modules of the package that a file imports, in functions and for type checkers, too."""
    found: set[str] = set()
    for node in ast.walk(parsed(file)):
        if isinstance(node, ast.ImportFrom) and node.module:
            # `from package import module` names a module; what else it names lies in the package itself.
            named = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (named & modules) or {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return (found & modules) - {module_name(file)}


def test_no_circle_of_imports():
    modules = {module_name(file): file for file in PACKAGE.rglob("*.py")}
    imports = {name: imported_modules(file, set(modules)) for name, file in modules.items()}
    # The package's front door names its option classes for editors, and imports them when they are asked for.
    imports["llmseq_cli"] = set()
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' → '.join(error.args[1])}")


@pytest.mark.parametrize("room", ["errors", "progress", "settings", "cli"])
def test_modules_that_start_the_program_import_nothing_heavy_at_the_top(room):
    heavy = {"torch", "sklearn", "scipy", "numpy", "duckdb", "openai", "google", "pandas", "httpx"}
    for file in [file for file in FILES if room_of(file) == room]:
        top = parsed(file).body
        names = {alias.name.split(".")[0] for node in top if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module.split(".")[0] for node in top if isinstance(node, ast.ImportFrom) and node.module}
        assert not names & heavy, file


STATEMENT = re.compile(r"\s*(select|insert into|update|delete from|create|with|copy|merge into)\s", re.IGNORECASE)


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_sql_longer_than_a_line_lies_in_a_file(file):
    """One named query a file under sql/; a docstring that begins with "Create" is no statement."""
    tree = parsed(file)
    texts = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    texts += [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    for node in texts:
        first = node.values[0] if isinstance(node, ast.JoinedStr) else node
        said = first.value if isinstance(first, ast.Constant) else ""
        if STATEMENT.match(said) and said.lstrip()[0].islower():
            assert node.lineno == node.end_lineno, f"{file.name}:{node.lineno} {said}"


def test_tests_import_no_tests():
    for file in sorted(Path(__file__).parent.rglob("*.py")):
        for node in ast.walk(parsed(file)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not [name for name in names if name.startswith("test_")], file
