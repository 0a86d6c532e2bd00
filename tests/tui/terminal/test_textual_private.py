"""The private names of Textual and Rich: there, as we use them, and used in one module only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import textual._ansi_sequences
import textual._compositor
import textual._xterm_parser
import textual.keys
from rich.console import Console
from rich.style import Style
from textual.app import App
from textual.dom import DOMNode
from textual.drivers import linux_driver
from textual.screen import Screen
from textual.widgets import Input

TUI = Path(__file__).resolve().parents[3] / "tui"
PRIVATE = TUI / "terminal" / "textual_private.py"
NAMES = [
    (textual._ansi_sequences, "ANSI_SEQUENCES_KEYS"),
    (textual._xterm_parser, "XTermParser"),
    (textual._xterm_parser.XTermParser(), "_timeout_time"),
    (textual._compositor, "ChopsUpdate"),
    (textual._compositor, "CompositorUpdate"),
    (textual._compositor, "LayoutUpdate"),
    (textual.keys, "_character_to_key"),
    (App, "_display"),
    (App(), "_keymap"),
    (DOMNode, "_merge_bindings"),
    (Screen, "_binding_chain"),
    (Screen, "_modal_binding_chain"),
    (Screen, "_forward_event"),
    (Style(), "_attributes"),
    (Style(), "_set_attributes"),
    (Console(), "_color_system"),
]


@pytest.mark.parametrize(("owner", "name"), NAMES, ids=[name for _, name in NAMES])
def test_a_private_name_is_still_there(owner: object, name: str) -> None:
    assert hasattr(owner, name)


def test_the_driver_makes_its_parser_by_the_name_that_is_replaced() -> None:
    assert hasattr(linux_driver, "XTermParser")
    assert "XTermParser" in linux_driver.LinuxDriver.run_input_thread.__code__.co_names


def test_these_are_all_of_them() -> None:
    tree = ast.parse(PRIVATE.read_text("utf-8"))
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} - {"__init__"}
    used = {name for name in names if name.startswith("_")}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(("textual", "rich")):
            private = node.module.startswith("textual._")
            used |= {alias.name for alias in node.names if private or alias.name.startswith("_")}
    assert used == {name for _, name in NAMES}


@pytest.mark.parametrize(
    "path", sorted(set(TUI.rglob("*.py")) - {PRIVATE}), ids=lambda path: str(path.relative_to(TUI))
)
def test_no_other_module_uses_one(path: Path) -> None:
    ours = (Screen, App, Input)
    text = path.read_text("utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("textual", "rich"):
            assert not any(part.startswith("_") for part in (node.module or "").split(".")), node.module
            assert not any(alias.name.startswith("_") for alias in node.names), node.module
        name = node.attr if isinstance(node, ast.Attribute) else node.name if isinstance(node, ast.FunctionDef) else ""
        if name.startswith("_") and not name.startswith("__") and "from textual" in text:
            assert not any(hasattr(owner, name) for owner in ours), f"{path}: {name} is Textual's"
