"""Imports go one way, and commands that only read never load what collecting needs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic import make_store

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {"store": {"store"}, "core": {"core", "store"}, "tui": {"tui", "core", "store"}}
STORE_MAY = sys.stdlib_module_names | {"numpy", "lmdb", "regex", "ffnscope"}
MODULES = [path for part in ALLOWED for path in sorted((ROOT / part).rglob("*.py"))]


def imported(path):
    """Every module that a file imports, wherever in it, as dotted names."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            if node.module == "ffnscope":
                yield from (f"ffnscope.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_downwards_only(path):
    part = path.relative_to(ROOT).parts[0]
    for name in imported(path):
        own = name.split(".")
        if own[0] == "ffnscope" and len(own) > 1:
            assert own[1] in ALLOWED[part], f"{path} imports {name}"
        if part == "store":
            assert own[0] in STORE_MAY, f"{path} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_is_short_enough_to_read(path):
    assert len(path.read_text("utf-8").splitlines()) <= 400


def test_there_is_something_to_check():
    assert {path.relative_to(ROOT).parts[0] for path in MODULES} == set(ALLOWED)
    assert "ffnscope.store" in set(imported(ROOT / "store" / "reader.py")) | {"ffnscope.store"}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("imports") / "s.ffn", layers=1, neurons=48, keep=20)


HEAVY = {"torch", "transformers", "textual", "plotext", "numba", "accelerate"}


@pytest.mark.parametrize(
    "arguments",
    [
        "--help",
        "--version",
        "export --help",
        "info S",
        "search S the",
        "export S",
        "report S --json",
        "verify S",
        "ask S token:a",
        "contexts S L0N3",
    ],
)
def test_commands_that_read_stay_light(store, arguments):
    without_store = "S" not in arguments.split()
    heavy = HEAVY | ({"numpy", "lmdb"} if without_store else set())  # a tenth of a second at every tab in the shell
    given = [str(store) if word == "S" else word for word in arguments.split()]
    code = (
        "import sys\nfrom ffnscope.tui.cli import main\nmain(sys.argv[1:])\n"
        f"print(sorted(set(sys.modules) & {heavy!r}), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *given], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "[]", done.stderr


@pytest.mark.parametrize("arguments", ["report S", "report S --html F", "compare S T"])
def test_a_report_needs_no_model_libraries(store, tmp_path, arguments):
    other = make_store(tmp_path / "t.ffn", layers=1, neurons=48)
    words = {"S": str(store), "T": str(other), "F": str(tmp_path / "r.html")}
    code = (
        "import sys\nfrom ffnscope.tui.cli import main\nassert main(sys.argv[1:]) == 0\n"
        f"print(sorted(set(sys.modules) & {HEAVY - {'plotext'}!r}), file=sys.stderr)"
    )
    given = [words.get(word, word) for word in arguments.split()]
    done = subprocess.run([sys.executable, "-c", code, *given], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "[]", done.stderr


def test_the_store_needs_numpy_and_lmdb_only(store):
    code = (
        "import sys\nimport ffnscope.store\n"
        "with ffnscope.store.open(sys.argv[1]) as store: store.neuron(0, 1)\n"
        "from ffnscope.store import export, figures, format, frames, notes, query, verify\n"
        "names = {name.partition('.')[0] for name in sys.modules}\n"
        "print(sorted(names & {'ffnscope', 'rich', 'typer', 'numba', 'torch'}))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(store)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['ffnscope']"
