"""The pages: everything a user can type is on one of them, and what is on them works."""

from __future__ import annotations

import fnmatch
import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import typer

from ffnscope.store.definitions import KINDS
from ffnscope.store.export.write import COLUMNS, FORMATS
from ffnscope.store.query import columns
from ffnscope.store.query.filter import FLAGS, GROUPS, POSITIONS, TEXTS
from ffnscope.store.query.filter_terms import COMPARE
from ffnscope.tui import keymap
from ffnscope.tui.app import FfnscopeApp
from ffnscope.tui.cli import app
from ffnscope.tui.state.config import Config

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for path in (
        README,
        *(page for folder in ("core", "store", "tui", "tests") for page in (ROOT / folder).rglob("*.md")),
    )
}
PROGRAM = typer.main.get_command(app)
COMMANDS = PROGRAM.commands  # type: ignore[attr-defined]
# Sections of BROWSER.md with keys that several screens have.
SHARED_KEYS = ("everywhere", "lists and pages")


def _without_fences(page: str) -> str:
    return re.sub(r"^```.*?^```$", "", page, flags=re.MULTILINE | re.DOTALL)


def _fences(page: str, languages: tuple[str, ...]) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language in languages]


def _code(page: str) -> str:
    """Everything on a page that stands in a fence or between backticks."""
    return "\n".join([*_fences(page, ("", "sh", "toml")), *re.findall(r"`([^`\n]+)`", _without_fences(page))])


def _sections(page: str, marks: str) -> dict[str, str]:
    """The text of each heading of one level, what stands before the first under ""."""
    parts = re.split(rf"^{marks} (.+)$", page, flags=re.MULTILINE)
    return {"": parts[0], **{title.strip(): text for title, text in zip(parts[1::2], parts[2::2], strict=True)}}


def _names(text: str, word: str) -> bool:
    """Whether the text has the word, not as a part of a longer one."""
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text) is not None


CODE = "\n".join(_code(page) for page in PAGES.values())


def test_the_readme_is_read_in_three_minutes() -> None:
    assert README.stat().st_size <= 10_240


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_on_a_page(command: str) -> None:
    assert _names(CODE, f"ffnscope {command}"), f"no page names `ffnscope {command}`"


def _options() -> Iterator[tuple[str, str]]:
    for name, command in COMMANDS.items():
        for parameter in command.params:
            for option in (*parameter.opts, *parameter.secondary_opts):
                if option.startswith("--"):
                    yield name, option
    yield from (("", option) for parameter in PROGRAM.params for option in parameter.opts if option.startswith("--"))


@pytest.mark.parametrize(("command", "option"), _options())
def test_every_option_is_on_a_page_beside_its_command(command: str, option: str) -> None:
    """In one section (##), so that `--json` of one command is not taken for that of another."""
    name = f"ffnscope {command}".strip()
    sections = [f"{title}\n{text}" for page in PAGES.values() for title, text in _sections(page, "##").items()]
    assert any(_names(text, name) and _names(text, option) for text in sections), (
        f"no section (##) of a page names both `{name}` and `{option}`"
    )


def test_every_filter_term_and_column_is_on_a_page() -> None:
    terms = {*KINDS, *GROUPS, *POSITIONS, *FLAGS, *FORMATS, *COLUMNS, *columns.COLUMNS, *columns.ALIASES}
    missing = sorted(term for term in terms if not _names(CODE, term))
    keys = (*TEXTS, "kind", "pos", "layer", "frequency")
    missing += [f"{key}:" for key in keys if not re.search(rf"(?<![\w-]){key}:\w", CODE)]
    missing += [sign for sign in COMPARE if not re.search(rf"\w{sign}[\w.]", CODE)]
    assert not missing, f"on no page: {', '.join(missing)}"


def _key_tables() -> dict[str, list[tuple[set[str], str]]]:
    """(keys, id) of every row of every table of keys in BROWSER.md, by the heading in lower case."""
    sections = _sections(_sections(PAGES["tui/BROWSER.md"], "##")["Screens"], "###")
    return {
        title.lower(): [
            (set(re.findall(r"`([^`]+)`", keys)), action)
            for keys, action in re.findall(r"^\| ([^|]+) \|.*\| `([\w-]+)` \|$", text, re.MULTILINE)
        ]
        for title, text in sections.items()
    }


def test_every_key_of_every_screen_is_on_a_page() -> None:
    tables = _key_tables()
    shared = [row for section in SHARED_KEYS for row in tables[section]]
    missing = []
    for screen, row in keymap.every_action(FfnscopeApp):
        assert screen in tables, f"tui/BROWSER.md has no heading '### {screen.capitalize()}'"
        if not any(action == row.id and set(row.keys) == keys for keys, action in (*tables[screen], *shared)):
            missing.append(f"{screen}: | {' '.join(f'`{key}`' for key in row.keys)} | {row.description} | `{row.id}` |")
    assert not missing, "tui/BROWSER.md lacks the rows\n" + "\n".join(missing)


def test_every_key_on_the_page_of_the_browser_is_one() -> None:
    known = {row.id for _, row in keymap.every_action(FfnscopeApp)}
    assert {action for rows in _key_tables().values() for _, action in rows} <= known


def test_every_setting_is_on_the_page_of_the_browser() -> None:
    section = _sections(PAGES["tui/BROWSER.md"], "##")["Configuration"]
    settings = tomllib.loads("\n".join(_fences(section, ("toml",))))
    assert set(settings) == {field.name for field in fields(Config)}


def _command_lines() -> Iterator[tuple[str, str]]:
    for name, page in PAGES.items():
        for fence in _fences(page, ("", "sh")):
            for line in fence.replace("\\\n", " ").splitlines():
                for part in line.partition(" #")[0].split("&&"):
                    if found := re.search(r"^\s*ffnscope (.+)|-m ffnscope\.tui (.+)", part):
                        yield name, (found[1] or found[2]).strip()


@pytest.mark.parametrize(("page", "line"), _command_lines())
def test_every_command_line_is_one_that_the_program_takes(page: str, line: str) -> None:
    """Read by the program's own parser, run by nobody."""
    try:
        words = shlex.split(line)
    except ValueError:  # the end of a quoted command
        words = shlex.split(line.rstrip("'"))
    if words[0] in ("--help", "--version"):
        return
    assert words[0] in COMMANDS, f"{page}: ffnscope {line}"
    COMMANDS[words[0]].make_context(words[0], words[1:])


def _anchors(page: str) -> set[str]:
    """The anchors that GitHub gives to the headings."""
    titles = re.findall(r"^#+ (.+)$", _without_fences(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name: str) -> None:
    prose = re.sub(r"`[^`\n]*`", "", _without_fences(PAGES[name]))
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        assert file.exists(), f"{name}: {target}"
        if anchor:
            assert anchor in _anchors(file.read_text("utf-8")), f"{name}: {target}"


def test_every_page_beside_the_code_is_installed() -> None:
    built = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    for name in PAGES:
        folder, _, file = name.rpartition("/")
        if folder.partition("/")[0] in ("core", "store", "tui"):
            patterns = built["package-data"].get("ffnscope." + folder.replace("/", "."), [])
            assert any(fnmatch.fnmatch(file, pattern) for pattern in patterns), f"package-data leaves out {name}"


def _examples() -> Iterator[tuple[str, str]]:
    for name, page in PAGES.items():
        yield from ((name, text) for text in _fences(page, ("python",)))


@pytest.mark.parametrize(("page", "text"), _examples())
def test_every_python_example_runs(
    page: str, text: str, demo_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    (tmp_path / "demo.ffn").symlink_to(demo_store)
    monkeypatch.chdir(tmp_path)
    exec(compile(text, page, "exec"), {"__name__": "example"})
