"""The keys of every screen: in the help, in the command palette, and given anew in config.toml by their ids."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from screens import LARGE, SMALL, press, screen_text
from synthetic import make_store
from textual.screen import Screen
from textual.widgets import Input

from ffnscope.store.errors import UserError
from ffnscope.tui import keymap
from ffnscope.tui.app import FfnscopeApp
from ffnscope.tui.browser.screen import Browser
from ffnscope.tui.commands.doctor import print_keys
from ffnscope.tui.drawing.glyphs import UNICODE
from ffnscope.tui.screens import bindings
from ffnscope.tui.screens.contexts import Contexts
from ffnscope.tui.screens.help import Help
from ffnscope.tui.screens.position import Position
from ffnscope.tui.screens.saved_filters import SavedFilters
from ffnscope.tui.state.config import config_path
from ffnscope.tui.state.remembered import filters_path, read_filters, save_filter

# How one gets to each screen from the browser, and the key of its help.
WAYS = {
    "search": (("/",), "ctrl+o"),
    "filter and other lines": (("f",), "ctrl+o"),
    "saved filters": (("F",), "?"),
    "sort picker": (("s",), "?"),
    "contexts": (("c",), "?"),
    "position plot": (("z",), "?"),
    "overview": (("o",), "?"),
    "two stores side by side": (("B",), "?"),
    "help": (("?",), ""),
}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two of the same shape."""
    folder = tmp_path_factory.mktemp("keys")
    return [make_store(folder / f"{seed}.ffn", layers=2, neurons=60, seed=seed) for seed in (0, 1)]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings and state of this test alone."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    save_filter(filters_path(), "mine", "kind:token")


@pytest.fixture
def app(stores: list[Path]) -> Iterator[FfnscopeApp]:
    """The browser on both."""
    app = FfnscopeApp(stores, UNICODE)
    yield app
    app.close()


async def whole_help(app: FfnscopeApp, pilot) -> str:
    """All of the help that is in front, pages put together."""
    seen: list[str] = []
    for _ in range(40):
        seen += [line for line in screen_text(app).split("\n") if line not in seen]
        before = app.screen.top
        await press(pilot, ("ctrl+d",), 0.01)
        if app.screen.top == before:
            return "\n".join(seen)
    raise AssertionError("the help has no end")


@pytest.mark.parametrize("name", keymap.screens())
def test_every_action_of_a_screen_has_a_description_and_an_id(name: str) -> None:
    for binding in bindings.bindings_of(keymap.screens()[name]):
        assert binding.description and binding.id, binding


def test_every_screen_class_is_known() -> None:
    ours = {each for each in _subclasses(Screen) if each.__module__.startswith("ffnscope.")}
    parts = {
        "Pager",
        "BrowserBase",
        "OtherScreens",
        "Moves",
        "Narrowing",
        "Asking",
        "Tasks",
        "PromptBase",
    }  # of other screens
    assert {each.__name__ for each in ours - set(keymap.screens().values())} <= parts


def _subclasses(of: type) -> Iterator[type]:
    for each in of.__subclasses__():
        yield each
        yield from _subclasses(each)


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_the_browsers_help_lists_the_keys_of_every_screen_with_ids(
    app: FfnscopeApp, size: tuple[int, int]
) -> None:
    async with app.run_test(size=size) as pilot:
        await press(pilot, ("?",))
        text = await whole_help(app, pilot)
    for _, row in keymap.every_action(FfnscopeApp):
        assert row.description in text, row
        assert re.search(rf"{re.escape(row.description)} .*\b{row.id}\b", text), row


@pytest.mark.parametrize("name", [name for name, (_, key) in WAYS.items() if key])
async def test_the_help_of_a_screen_begins_with_its_own_keys(app: FfnscopeApp, name: str) -> None:
    to_it, key = WAYS[name]
    async with app.run_test(size=(80, 60)) as pilot:
        await press(pilot, (*to_it, key))
        assert isinstance(app.screen, Help)
        first = screen_text(app)
        for row in bindings.listed(bindings.bindings_of(keymap.screens()[name])):
            assert row.description in first and row.id in first, row
        await press(pilot, ("q",))
        assert type(app.screen) is keymap.screens()[name]


@pytest.mark.parametrize("name", WAYS)
async def test_every_action_of_a_screen_is_in_its_palette(app: FfnscopeApp, name: str) -> None:
    async with app.run_test(size=SMALL) as pilot:
        await press(pilot, WAYS[name][0])
        titles = {command.title for command in app.get_system_commands(app.screen)}
        assert {row.description for row in bindings.listed(bindings.bindings_of(keymap.screens()[name]))} <= titles
        await press(pilot, ("ctrl+p",), 0.4)
        assert app.screen is not None and type(app.screen).__name__ == "CommandPalette"


async def test_the_palette_acts_on_the_screen_it_was_opened_from(app: FfnscopeApp) -> None:
    async with app.run_test(size=LARGE) as pilot:
        await press(pilot, ("z", "ctrl+p", *"zoom in"), 0.6)
        await press(pilot, ("enter",), 0.4)
        assert isinstance(app.screen, Position) and app.screen.shown == app.screen.length // 2
        await press(pilot, ("q", "F", "ctrl+p", *"forget the"), 0.6)
        await press(pilot, ("enter",), 0.4)
        assert isinstance(app.screen, SavedFilters) and not read_filters(filters_path())
        await press(pilot, ("q", "/", "text:s", "ctrl+p", *"suppresses"), 0.6)
        await press(pilot, ("enter",), 0.4)
        assert app.screen.way == "promotes" and app.screen.query_one(Input).value == "s"


async def test_keys_inside_screens_can_be_given_anew(stores: list[Path]) -> None:
    _config('zoom-in = "i"\nread = "r,enter"\nforget = "x"\nsearch-way = "ctrl+t"\ndown = "n,down"\nnext-match = "j"\n')
    app = FfnscopeApp(stores, UNICODE)
    app.set_keymap(keymap.user_config(FfnscopeApp).keys)
    async with app.run_test(size=LARGE) as pilot:
        await press(pilot, ("n",))
        assert app.sessions[0].neurons.cursor == 1
        await press(pilot, ("z", "i"))
        assert app.screen.shown == app.screen.length // 2
        await press(pilot, ("q", "c", "n", "r"))
        assert isinstance(app.screen, Contexts) and app.screen.reading and app.screen.cursor == 1
        await press(pilot, ("q", "q", "/", "ctrl+t"))
        assert app.screen.way == "promotes"
        await press(pilot, ("escape", "F", "d"))
        assert read_filters(filters_path())
        await press(pilot, ("x", "q", "?"))
        assert not read_filters(filters_path()) and isinstance(app.screen, Help)
        text = await whole_help(app, pilot)
        assert re.search(r" i +Zoom in", text) and re.search(r" x +Forget the filter", text)
        await press(pilot, ("q",))
        assert isinstance(app.screen, Browser)
    app.close()


def _config(text: str) -> None:
    config_path().parent.mkdir(parents=True, exist_ok=True)
    config_path().write_text("[keys]\n" + text, encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('zoom = "i"', "unknown action 'zoom' under [keys], perhaps zoom-in; `ffnscope doctor --keys` lists them"),
        ('filter = "F"', "[keys] filter takes the key F of saved-filters; give saved-filters another one"),
        ('zoom-in = "d"', "[keys] zoom-in takes the key d of domain (in the position plot); give domain another one"),
        ('overview = "ctrl+l"', "takes the key ctrl+l of redraw"),
        ('overview = "spacebar"', "[keys] overview: unknown key 'spacebar'"),
        ('overview = "w,,"', "[keys] overview: unknown key ''"),
        ('palette = "P"', "no text could hold this key then"),
    ],
)
def test_what_is_wrong_with_keys_is_said_in_one_line(text: str, said: str) -> None:
    _config(text)
    with pytest.raises(UserError) as caught:
        keymap.user_config(FfnscopeApp)
    assert said in str(caught.value) and str(config_path()) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ['filter = "F"\nsaved-filters = "f"', 'mark = "m"', 'overview = "f5,ctrl+t,alt+o"', 'goto = ";"']
)
def test_keys_may_change_places(text: str) -> None:
    _config(text)
    assert keymap.user_config(FfnscopeApp).keys


def test_the_keys_of_the_browsers_page_are_right() -> None:
    page = (Path(__file__).parents[2] / "tui" / "BROWSER.md").read_text(encoding="utf-8")
    _config(page.partition("\n[keys]")[2].partition("```")[0].partition("\n")[2])
    assert keymap.user_config(FfnscopeApp).keys


def test_doctor_lists_the_ids(capsys: pytest.CaptureFixture[str]) -> None:
    print_keys()
    out = capsys.readouterr().out
    for screen, row in keymap.every_action(FfnscopeApp):
        assert f"{screen}\n" in out and f"  {row.id:<17} {' '.join(row.keys):<12} {row.description}\n" in out
