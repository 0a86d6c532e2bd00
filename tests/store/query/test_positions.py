"""A query holds at exactly the positions that a plain reading of it holds at; what can't be read is said in one line."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import make_store

from ffnscope.store.errors import UserError
from ffnscope.store.query.positions import KNOWN, QueryError, parse_query
from ffnscope.store.reader import Store

DOMAINS = ("wiki", "code")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    rng = np.random.default_rng(0)
    labels = {"fact": rng.random((40, 64)) < 0.1, "two words": rng.random((40, 64)) < 0.05}
    folder = tmp_path_factory.mktemp("positions")
    path = make_store(folder / "s.ffn", neurons=100, hostile=True, keep=30, labels=labels)
    with Store.open(path) as opened:
        opened.marked = labels
        yield opened


def found(store, text):
    return parse_query(text, DOMAINS).members(store.kept)


def wanted(store, holds):
    """By a rule on (index of the kept window, position)."""
    kept = store.kept
    return [bool(holds(i, p)) for i, p in zip(kept.window_of.tolist(), kept.position_of.tolist(), strict=True)]


def token(store, i, p):
    return store.vocabulary.text(int(store.kept.tokens[i, p])) if p >= 0 else None


def characters(store, i):
    """The window's text, and for each token the set of characters that it holds a byte of."""
    ids = store.kept.tokens[i].tolist()
    pieces = [b"" if t == store.run.corpus.bos_id else store.vocabulary.encoded(t) for t in ids]
    joined = b"".join(pieces)
    owner, chars, at = np.repeat(np.arange(len(ids)), [len(p) for p in pieces]), [set() for _ in ids], 0
    text = joined.decode("utf-8", "replace")
    while at < len(joined):
        # The longest start of what is left that decodes to one character.
        size = max(n for n in range(1, 5) if len(joined[at : at + n].decode("utf-8", "replace")) == 1)
        number = len(joined[:at].decode("utf-8", "replace"))
        for byte in range(at, min(at + size, len(joined))):
            chars[owner[byte]].add(number)
        at += size
    return text, chars


def spans(store, pattern, flags=0, last=False):
    """[K] of the characters of each window that stand in matches."""
    held = []
    for i in range(len(store.kept.windows)):
        text, chars = characters(store, i)
        marked = set()
        for match in re.finditer(pattern, text, flags):
            marked |= set(range(*match.span())[-1:] if last else range(*match.span()))
        held.append([bool(own & marked) for own in chars])
    return held


CASES = {
    "": lambda s, i, p: True,
    "token:SCHOOL": lambda s, i, p: "school" in token(s, i, p).casefold(),
    'token:="school"|=" the"': lambda s, i, p: token(s, i, p) in ("school", " the"),
    "token:=school": lambda s, i, p: token(s, i, p) == "school",
    "token:/^ [st]/": lambda s, i, p: re.search("^ [st]", token(s, i, p)),
    "token:/THE$/i": lambda s, i, p: re.search("THE$", token(s, i, p), re.IGNORECASE),
    'token:"\\n"': lambda s, i, p: "\n" in token(s, i, p),
    'token:"a|b c"': lambda s, i, p: "a|b c" in token(s, i, p),
    "prev:the": lambda s, i, p: p > 0 and "the" in token(s, i, p - 1).casefold(),
    'prev:="</s>"': lambda s, i, p: p == 1,
    "-prev:/[a-z]/ -token:/e/": lambda s, i, p: (
        not (p > 0 and re.search("[a-z]", token(s, i, p - 1))) and "e" not in token(s, i, p)
    ),
    "domain:code": lambda s, i, p: s.kept.windows[i] >= 20,
    "DOMAIN:Wiki": lambda s, i, p: s.kept.windows[i] < 20,
    "domain:wiki|code": lambda s, i, p: True,
    "position:0-3,10|60-": lambda s, i, p: p <= 3 or p == 10 or p >= 60,
    "position:-2": lambda s, i, p: p <= 2,
    "label:fact": lambda s, i, p: s.marked["fact"][s.kept.windows[i], p],
    'label:"two words"|fact': lambda s, i, p: (
        s.marked["fact"][s.kept.windows[i], p] or s.marked["two words"][s.kept.windows[i], p]
    ),
}


@pytest.mark.parametrize("text", CASES)
def test_a_query_holds_where_it_says(store, text):
    expected = wanted(store, lambda i, p: CASES[text](store, i, p))
    assert found(store, text).tolist() == expected
    if text:
        assert any(expected) or '"a|b c"' in text or "n" in text


@pytest.mark.parametrize(
    ("text", "pattern", "flags", "last"),
    [
        (r"text:/school \w+/", r"school \w+", 0, False),
        (r"text:/SCHOOL/i", "SCHOOL", re.IGNORECASE, False),
        (r"ends:/the \w+/", r"the \w+", 0, True),
        (r"text:/[^\x00-\x7f]+/", r"[^\x00-\x7f]+", 0, False),
        (r"text:/ a\/b|\n+/", r" a/b|\n+", 0, False),
        ('text:/"/', '"', 0, False),
        (r"ends:/\ufffd/", "\ufffd", 0, True),
        (r"text:/^/", "^", 0, False),
    ],
)
def test_regular_expressions_hold_at_the_tokens_of_their_matches(store, text, pattern, flags, last):
    held = spans(store, pattern, flags, last)
    assert found(store, text).tolist() == wanted(store, lambda i, p: held[i][p])
    assert found(store, f"-{text}").tolist() == (~found(store, text)).tolist()


def test_alternatives_of_regular_expressions(store):
    one, other = found(store, "text:/school/"), found(store, "text:/TEACHER/i")
    assert np.array_equal(found(store, "text:/school/|/TEACHER/i"), one | other)
    assert 0 < one.sum() < (one | other).sum()


def test_a_neurons_own_positions(store):
    both = store.kept.neuron(0, 5) | store.kept.neuron(1, 7)
    assert np.array_equal(found(store, "neuron:L0N5|l1n7"), both)
    assert np.array_equal(found(store, "neuron:L0N5,L1N7"), both)


def test_concepts_are_those_of_the_list(store):
    kept = store.kept
    assert found(store, "concept:newline").tolist() == wanted(store, lambda i, p: "\n" in token(store, i, p))
    assert found(store, "concept:first_16").tolist() == (kept.position_of < 16).tolist()
    both = found(store, "concept:newline") | found(store, "concept:eighth_2")
    assert np.array_equal(found(store, "concept:newline|eighth_2"), both)
    with pytest.raises(QueryError, match="no concept 'noline'; there are digit, with_digit"):
        found(store, "concept:noline")


@given(terms=st.lists(st.sampled_from(sorted(CASES)), max_size=4), minus=st.booleans())
@settings(max_examples=40)
def test_terms_must_all_hold(store, terms, minus):
    terms = [term for term in terms if term and not term.startswith("-")]
    expected = np.ones(store.kept.positions, bool)
    for term in terms:
        one = found(store, term)
        expected &= ~one if minus else one
    assert np.array_equal(found(store, "  ".join(f"-{term}" if minus else term for term in terms)), expected)


@given(st.text(alphabet=st.sampled_from(list('textndspro:/|"-=,.(){}[]+*?\\ 0123LNi\x1b\né')), max_size=30))
@settings(max_examples=400)
def test_any_text_is_a_query_or_one_clear_line(text):
    try:
        parse_query(text, DOMAINS)
    except QueryError as error:
        assert 1 <= error.position <= len(text) and not text[error.position - 1].isspace()
        assert "\n" not in str(error) and "\x1b" not in str(error)


@given(st.text(max_size=30).filter(bool))
@settings(max_examples=100)
def test_every_text_can_be_quoted(text):
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    (typed,) = parse_query(f'token:="{quoted}"').terms
    assert typed.term.patterns[0].text == text


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("school", 1, KNOWN),
        ("token:a  foo:b", 10, "no term 'foo'"),
        ("-", 1, "negates"),
        ("token:", 1, "needs a text"),
        ("token:a|", 1, "needs a text"),
        ("text:school", 1, "between slashes"),
        ("text:/a", 1, "has no end"),
        ("text:/(/", 1, "not a regular expression"),
        ("text:/a/x", 1, "only i (case ignored)"),
        ("text://", 1, "between slashes"),
        ("token:/a(?P<n/", 1, "not a regular expression"),
        ("ends:/\\p{Nonsense}/", 1, "not a regular expression"),
        (f"text:/{'(' * 5000}{')' * 5000}/", 1, "not a regular expression"),
        (f"text:/{'a' * 20000}/", 1, "20,000 characters"),
        ('label:"x', 1, "no end"),
        ("domain:speech", 1, "there are wiki, code"),
        ("position:5-3", 1, "ends before"),
        ("position:x", 1, "0-15,100"),
        ("position:1,", 1, "not a range"),
        ("neuron:5", 1, "L2N10"),
        ("neuron:/L1N1/", 1, "needs a value"),
        ("concept:", 1, "needs a value"),
    ],
)
def test_a_bad_term_is_named_with_its_place(text, position, says):
    with pytest.raises(UserError) as error:
        parse_query(text, DOMAINS)
    assert f"at position {position}:" in str(error.value) and says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("neuron:L5N1", "there are 0, 1"),
        ("neuron:L0N100", "0 to 99"),
        ("label:other", "there are fact, two words"),
    ],
)
def test_what_this_store_cannot_answer(store, text, says):
    with pytest.raises(QueryError, match=says):
        found(store, f"position:1 {text}")


def test_a_catastrophic_regular_expression_is_said(store, monkeypatch):
    monkeypatch.setattr("ffnscope.store.bits.window_text.SECONDS", 0.05)
    with pytest.raises(QueryError, match="takes more than"):
        found(store, r"text:/(\w|\s|.|\n)+(\w|\s|.|\n)+\x01$/")
