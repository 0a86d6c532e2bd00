"""Concepts against plain loops over one document's tokens, and the page that lists them against the list."""

from __future__ import annotations

import re
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from ffnscope.store.concepts.rules import BY_NAME, CONCEPTS, concept_names, concept_positions
from ffnscope.store.concepts.text_positions import TextPositions

BOS = 0
PIECES = [
    "</s>", "\n", " ", "    ", "(", ")", "((", "))]", '"', ' "a', "a", " the", "The", "12", ".", ",", "#", "//", "www", "@x",
    "x\n y", "\n\n", " é", "ab", "=", "=\n\t", "it", " IT", "s", "one",
]  # fmt: skip


def sets(windows: list[list[int]], domains: tuple[str, ...] = ("only",)) -> dict[str, np.ndarray]:
    tokens = np.array(windows)
    at = TextPositions(tokens, BOS, PIECES.__getitem__)
    found = concept_positions(at, np.arange(len(tokens)) % len(domains), domains)
    return dict(zip(concept_names(domains), found, strict=True))


def documents(window: list[int]) -> list[tuple[int, list[str]]]:
    """(position, tokens of its document up to and with it) of every position that is not BOS."""
    out, current = [], []
    for position, token in enumerate(window):
        current = [] if token == BOS else [*current, PIECES[token]]
        if token != BOS:
            out.append((position, list(current)))
    return out


def line_before(left: list[str]) -> str:
    return "".join(left[:-1]).rpartition("\n")[2]


def depth(left: list[str]) -> int:
    level = 0
    for piece in left[:-1]:
        level = max(0, level + sum(map(piece.count, "([{")) - sum(map(piece.count, ")]}")))
    return level


def tokens_on_line(left: list[str]) -> list[str]:
    out: list[str] = []
    for piece in left[:-1]:
        out = [piece.rpartition("\n")[2]] if "\n" in piece else [*out, piece]
    return out


def chunk_before(left: list[str]) -> list[str]:
    out: list[str] = []
    for piece in left[:-1]:
        if any(map(str.isspace, piece)):
            out = [] if piece[-1].isspace() else [piece.split()[-1]]
        else:
            out.append(piece)
    return out


PLAIN = {
    "line_start": lambda left: len(left) > 1 and left[-2].endswith("\n"),
    "in_quotes": lambda left: line_before(left).count('"') % 2 == 1,
    "late_in_line": lambda left: len(line_before(left)) > 60,
    "comment": lambda left: any("#" in piece or "//" in piece for piece in tokens_on_line(left)),
    "in_brackets": lambda left: depth(left) > 0,
    "in_nested_brackets": lambda left: depth(left) > 1,
    "indented_line": lambda left: (
        "\n" in "".join(left[:-1]) and (line_before(left) + left[-1])[:1].isspace() and (line_before(left) + left[-1])[0] != "\n"
    ),
    "first_word_of_line": lambda left: bool(left[-1].strip()) and not line_before(left).strip(),
    "indentation": lambda left: (
        left[-1].isspace() and "\n" not in left[-1] and "\n" in "".join(left[:-1]) and not line_before(left).strip()
    ),
    "in_address": lambda left: (
        not left[-1][:1].isspace() and any("//" in piece or "www" in piece or "@" in piece for piece in chunk_before(left))
    ),
    "continues_word": lambda left: len(left) > 1 and left[-2][-1:].isalnum() and left[-1][:1].isalnum(),
    "same_as_before": lambda left: len(left) > 1 and left[-2] == left[-1],
    "document_start": lambda left: len(left) == 1,
    "digit": lambda left: left[-1].strip().isdigit(),
    "capitalised": lambda left: left[-1] == "The",
    "number_word": lambda left: left[-1] == "one",
}  # fmt: skip


@given(st.lists(st.lists(st.integers(0, len(PIECES) - 1), min_size=24, max_size=24), min_size=1, max_size=3))
def test_rules_against_plain_loops(windows: list[list[int]]) -> None:
    found = sets(windows)
    for row, window in enumerate(windows):
        for position, left in documents(window):
            for name, rule in PLAIN.items():
                assert found[name][row, position] == rule(left), (name, left)


@given(st.lists(st.integers(0, len(PIECES) - 1), min_size=16, max_size=16))
def test_repetition(window: list[int]) -> None:
    found = sets([window])
    for position, token in enumerate(window):
        if token == BOS:
            assert not any(each[0, position] for each in found.values())
            continue
        before = [place for place in range(position) if window[place] == token]
        assert found["seen_before"][0, position] == bool(before)
        assert found["seen_recently"][0, position] == bool(before and position - before[-1] <= 16)
        bigrams = [place for place in before if place and window[place - 1] == window[position - 1] != BOS]
        assert found["bigram_seen_before"][0, position] == bool(bigrams and position)


@given(st.lists(st.integers(0, len(PIECES) - 1), min_size=20, max_size=20), st.integers(1, 19), st.randoms())
def test_no_rule_sees_a_later_token(window: list[int], cut: int, random: object) -> None:
    other = window[:cut] + [random.randrange(len(PIECES)) for _ in window[cut:]]  # type: ignore[attr-defined]
    one, two = sets([window]), sets([other])
    for name in one:
        assert np.array_equal(one[name][:, :cut], two[name][:, :cut]), name


def test_positions_and_domains() -> None:
    found = sets([[4] * 40, [4] * 40], ("wiki", "code"))
    assert found["first_16"].sum() == 32
    assert [int(found[f"eighth_{number}"][0].sum()) for number in range(1, 9)] == [5] * 8
    assert found["domain:wiki"][0].all() and not found["domain:wiki"][1].any()
    assert concept_names(("wiki",)) == tuple(BY_NAME), "of one domain the domain says nothing"


def test_a_token_that_is_no_text_has_no_form() -> None:
    at = TextPositions(np.array([[1, 2]]), None, lambda token: "12", lambda token: token == 1)
    assert at.where(str.isdigit).tolist() == [[True, False]]
    assert BY_NAME["part_of_character"].positions(at).tolist() == [[False, True]]


@pytest.mark.parametrize("concept", CONCEPTS, ids=lambda concept: concept.name)
def test_the_page_gives_every_rule(concept: object) -> None:
    page = (Path(__file__).parents[3] / "core" / "CONCEPTS.md").read_text("utf-8")
    rows = dict(re.findall(r"(?m)^\| `([a-z_0-9]+)` \| (.+) \|$", page))
    assert set(rows) == set(BY_NAME)
    assert rows[concept.name] == concept.rule.replace("|", "\\|")  # type: ignore[attr-defined]
