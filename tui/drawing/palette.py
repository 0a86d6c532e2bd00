"""What the style names of a Line look like: our dark and light themes in 256 colours, and the terminal's own 16."""

from __future__ import annotations

from rich.style import Style
from textual.theme import Theme

# Every colour is one of xterm's 256 exactly, so nothing shifts where true colour is missing.
_DARK = {
    "ground": "#1c1c1c",
    "text": "#bcbcbc",
    "bright": "#ffffff",
    "dim": "#8a8a8a",
    "faint": "#626262",
    "rule": "#4e4e4e",
    "accent": "#87d7ff",
    "token": "#ffd787",
    "trigger": "#ffaf5f",
    "position": "#87d7af",
    "bar": "#005f87",
    "mark": "#ff87af",
    "here": "#1c1c1c",
    "error": "#ff8787",
    "mark-weak": "#875f87",
    "error-weak": "#875f5f",
    "position-weak": "#5f875f",
    "token-weak": "#87875f",
    "cursor": "#3a3a3a",
    "cursor-off": "#262626",
    "head": "#303030",
}
_LIGHT = {
    "ground": "#eeeeee",
    "text": "#303030",
    "bright": "#000000",
    "dim": "#626262",
    "faint": "#8a8a8a",
    "rule": "#bcbcbc",
    "accent": "#005f87",
    "token": "#870000",
    "trigger": "#af5f00",
    "position": "#005f5f",
    "bar": "#87afd7",
    "mark": "#af005f",
    "here": "#ffffff",
    "error": "#d70000",
    "mark-weak": "#d787af",
    "error-weak": "#d78787",
    "position-weak": "#5fafaf",
    "token-weak": "#af8787",
    "cursor": "#c6c6c6",
    "cursor-off": "#dadada",
    "head": "#d0d0d0",
}
# Bright black is invisible in some 16-colour palettes: what must be read is dimmed instead.
_ANSI = {
    "text": Style(),
    "bright": Style(bold=True),
    "dim": Style(dim=True),
    "faint": Style(dim=True),
    "rule": Style(dim=True),
    "accent": Style(color="cyan", bold=True),
    "token": Style(color="yellow", bold=True),
    "trigger": Style(color="yellow"),
    "position": Style(color="green"),
    "bar": Style(color="blue"),
    "mark": Style(color="magenta", bold=True),
    "error": Style(color="red", bold=True),
    "mark-weak": Style(color="magenta"),
    "error-weak": Style(color="red"),
    "position-weak": Style(color="green", dim=True),
    "token-weak": Style(color="yellow", dim=True),
    "here": Style(reverse=True, bold=True),
}
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
