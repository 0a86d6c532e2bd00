"""What the style names of a Line look like: our dark and light themes in 256 colours, and the terminal's own 16."""

from __future__ import annotations

from rich.style import Style
from textual.theme import Theme

# What a style looks like in the dark theme, in the light one, and in a terminal's own 16 colours. Every colour is one of
# xterm's 256 exactly, so nothing shifts where true colour is missing. Bright black is invisible in some 16-colour palettes:
# what must be read is dimmed instead.
_STYLES: dict[str, tuple[str, str, Style | None]] = {
    "ground": ("#1c1c1c", "#eeeeee", None),
    "text": ("#bcbcbc", "#303030", Style()),
    "bright": ("#ffffff", "#000000", Style(bold=True)),
    "dim": ("#8a8a8a", "#626262", Style(dim=True)),
    "faint": ("#626262", "#8a8a8a", Style(dim=True)),
    "rule": ("#4e4e4e", "#bcbcbc", Style(dim=True)),
    "accent": ("#87d7ff", "#005f87", Style(color="cyan", bold=True)),
    "token": ("#ffd787", "#870000", Style(color="yellow", bold=True)),
    "trigger": ("#ffaf5f", "#af5f00", Style(color="yellow")),
    "position": ("#87d7af", "#005f5f", Style(color="green")),
    "bar": ("#005f87", "#87afd7", Style(color="blue")),
    "mark": ("#ff87af", "#af005f", Style(color="magenta", bold=True)),
    "here": ("#1c1c1c", "#ffffff", Style(reverse=True, bold=True)),
    "error": ("#ff8787", "#d70000", Style(color="red", bold=True)),
    "mark-weak": ("#875f87", "#d787af", Style(color="magenta")),
    "error-weak": ("#875f5f", "#d78787", Style(color="red")),
    "position-weak": ("#5f875f", "#5fafaf", Style(color="green", dim=True)),
    "token-weak": ("#87875f", "#af8787", Style(color="yellow", dim=True)),
    "cursor": ("#3a3a3a", "#c6c6c6", None),
    "cursor-off": ("#262626", "#dadada", None),
    "head": ("#303030", "#d0d0d0", None),
}
_DARK = {name: dark for name, (dark, _, _) in _STYLES.items()}
_LIGHT = {name: light for name, (_, light, _) in _STYLES.items()}
_ANSI = {name: style for name, (_, _, style) in _STYLES.items() if style is not None}
_BOLD = ("bright", "token", "here")
GROUNDS = ("", "cursor", "cursor-off", "head")


def _theme(name: str, colors: dict[str, str], dark: bool) -> Theme:
    return Theme(
        name=name,
        primary=colors["accent"],
        secondary=colors["bar"],
        accent=colors["accent"],
        foreground=colors["text"],
        background=colors["ground"],
        surface=colors["ground"],
        panel=colors["head"],
        boost=colors["head"],
        success=colors["position"],
        warning=colors["trigger"],
        error=colors["error"],
        dark=dark,
        variables={
            "block-cursor-background": colors["cursor"],
            "block-cursor-foreground": colors["bright"],
            "block-cursor-text-style": "bold",
            "input-cursor-background": colors["accent"],
            "input-cursor-foreground": colors["ground"],
            "border": colors["rule"],
            "border-blurred": colors["rule"],
            "scrollbar": colors["rule"],
            "scrollbar-background": colors["ground"],
        },
    )


THEMES = (_theme("ffnscope", _DARK, True), _theme("ffnscope-light", _LIGHT, False))
ALIASES = {"dark": "ffnscope", "light": "ffnscope-light", "ansi": "ansi-dark", "16": "ansi-dark"}


_made: dict[str, dict[tuple[str, str], Style]] = {}


def styles(theme: Theme) -> dict[tuple[str, str], Style]:
    """(style name, ground) -> Style for one theme; for a theme that is not ours, made from its colours."""
    if theme.name not in _made:
        _made[theme.name] = _ansi_styles() if theme.ansi else _color_styles(theme)
    return _made[theme.name]


def _color_styles(theme: Theme) -> dict[tuple[str, str], Style]:
    if theme.name == "ffnscope-light":
        colors = _LIGHT
    elif theme.name == "ffnscope":
        colors = _DARK
    else:
        colors = (_DARK if theme.dark else _LIGHT) | _own_colors(theme)
    out = {}
    for ground in GROUNDS:
        bgcolor = colors[ground or "ground"]
        for name, color in colors.items():
            # The token that a context is about stands on the token colour.
            under = colors["token"] if name == "here" else bgcolor
            out[name, ground] = Style(color=color, bgcolor=under, bold=name in _BOLD or None)
    return out


def _own_colors(theme: Theme) -> dict[str, str]:
    wanted = {"ground": theme.background, "text": theme.foreground, "accent": theme.accent, "error": theme.error}
    return {name: value for name, value in wanted.items() if value and value.startswith("#")}


def _ansi_styles() -> dict[tuple[str, str], Style]:
    reverse = Style(reverse=True)
    out = {}
    for name, style in _ANSI.items():
        out[name, ""] = style
        # Colours on a reversed ground are unreadable in half of the palettes: bold is what is left.
        out[name, "cursor"] = reverse + Style(bold=True) if style.bold else reverse
        out[name, "cursor-off"] = style + Style(underline=True)
        out[name, "head"] = reverse + Style(bold=True) if style.bold else reverse
    return out
