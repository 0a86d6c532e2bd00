"""Every folder of code is installed, and small enough to find one's way in."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("core", "store", "tui")
NAMES = {path.name for part in (*PARTS, "tests") for path in (ROOT / part).rglob("*") if path.suffix in (".md", ".py")}
FOLDERS = sorted({path.parent for part in PARTS for path in (ROOT / part).rglob("*.py")})


def setuptools():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def test_every_folder_is_a_package_that_is_installed():
    folders = {"ffnscope." + ".".join(folder.relative_to(ROOT).parts) for folder in FOLDERS}
    assert all((folder / "__init__.py").is_file() for folder in FOLDERS)
    assert sorted(folders) == setuptools()["packages"]


def test_every_page_beside_the_code_is_installed():
    data = setuptools()["package-data"]
    for page in (page for part in PARTS for page in (ROOT / part).rglob("*.md")):
        patterns = data.get("ffnscope." + ".".join(page.relative_to(ROOT).parts[:-1]), [])
        assert any(page.match(pattern) for pattern in patterns), f"{page} is in no package-data"


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_a_folder_holds_at_most_15_modules(folder):
    assert len([path for path in folder.glob("*.py") if path.name != "__init__.py"]) <= 15


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: str(folder.relative_to(ROOT)))
def test_a_package_says_what_is_in_it(folder):
    described = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8"))) or ""
    parts = {
        path.stem if path.suffix else path.name for path in folder.iterdir() if path.suffix == ".py" or path in FOLDERS
    }
    unnamed = sorted(part for part in parts - {"__init__"} if not re.search(rf"\b{part}\b", described))
    assert not unnamed, f"{folder.name}/__init__.py does not say what these are: {', '.join(unnamed)}"


THEIR_OWN = {"zero_to_fp32.py"}  # files of models that messages name


def test_every_file_that_the_code_names_is_there():
    for path in (path for folder in FOLDERS for path in folder.glob("*.py")):
        places = (ROOT, *(place for place in path.parents if place.is_relative_to(ROOT)))
        for name in set(re.findall(r"(?<![\w/.*{}-])\w[\w/]*\.(?:md|py)\b", path.read_text("utf-8"))) - THEIR_OWN:
            nearby = any((place / name).is_file() for place in places)
            assert nearby or name in NAMES, f"{path.relative_to(ROOT)} names {name}, which is not there"


def test_the_store_is_light_until_one_is_opened():
    code = "import sys\nimport ffnscope.store\nprint(sorted({'numpy', 'lmdb'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_names_that_notebooks_import():
    from ffnscope.store import figures, figures_changes, figures_intervals, figures_recheck, frames
    from ffnscope.store.notebook import NotebookStore

    assert figures.wilson is figures_intervals.wilson
    assert figures.changes is figures_changes.changes and figures.recheck is figures_recheck.recheck
    assert callable(figures.layer_figures) and callable(figures.model_figures)
    assert callable(frames.to_pandas) and callable(frames.to_polars)
    assert {"table", "select", "column", "neuron", "iterate"} <= set(dir(NotebookStore))
