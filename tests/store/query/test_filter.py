"""The filter language holds for exactly the neurons that a plain reading of it holds for."""

from __future__ import annotations

import operator
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import make_store

from ffnscope.store.errors import UserError
from ffnscope.store.query.filter import FilterError, parse_filter
from ffnscope.store.query.filter_completion import complete
from ffnscope.store.reader import Store

DOMAINS = ("wiki", "code")
SIZE = 500
MARKS = {(0, 3), (0, 17), (1, 4), (7, 1), (0, 5000)}
NOTES = {(0, 3): "seen", (1, 99): "odd"}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = make_store(tmp_path_factory.mktemp("filters") / "s.ffn", neurons=SIZE, hostile=True)
    with Store.open(path) as opened:
        opened.list = [list(opened.iterate(layer)) for layer in opened.layers()]
        yield opened


def held(store, text, layer=0):
    mask = parse_filter(text, DOMAINS).mask(store, layer, MARKS, NOTES)
    assert mask.dtype == np.bool_ and mask.shape == (SIZE,)
    return set(np.flatnonzero(mask).tolist())


def wanted(store, predicate, layer=0):
    return {neuron.neuron for neuron in store.list[layer] if predicate(neuron)}


def detects(store, neuron, fits):
    texts = [store.vocabulary.texts(ngram.tokens) for ngram in neuron.detected]
    return any(any(fits(text) for text in tokens) or fits("".join(tokens)) for tokens in texts)


def listed(store, pairs, fits):
    return any(fits(store.vocabulary.text(token)) for token, _ in pairs)


CASES = {
    "kind:token": lambda s, n: n.kind == "token",
    "KIND:Token|dead": lambda s, n: n.kind in ("token", "dead"),
    "-kind:dead": lambda s, n: n.kind != "dead",
    "kind!=dead": lambda s, n: n.kind != "dead",
    "kind:detector": lambda s, n: n.order > 0,
    "kind:alive": lambda s, n: n.activations > 0,
    "layer:0-5": lambda s, n: True,
    "layer:1|3": lambda s, n: False,
    "layer:0,2": lambda s, n: True,
    "layer>0": lambda s, n: False,
    "neuron:3-7,9|20": lambda s, n: 3 <= n.neuron <= 7 or n.neuron in (9, 20),
    "neuron:150-": lambda s, n: n.neuron >= 150,
    "n=5": lambda s, n: n.neuron == 5,
    "freq<0.01": lambda s, n: np.float32(n.frequency) < np.float32(0.01),
    "freq<1%": lambda s, n: np.float32(n.frequency) < np.float32(0.01),
    "acts>=0.1k": lambda s, n: n.activations >= 100,
    "acts>-1": lambda s, n: True,
    "acts<99999999999999999999999": lambda s, n: True,
    "mi>=0.05": lambda s, n: np.float32(n.position_mi) >= np.float32(0.05),
    "uni<=5": lambda s, n: n.unigrams_95 <= 5,
    "uni!=0|1": lambda s, n: n.unigrams_95 not in (0, 1),
    "uni=0|1": lambda s, n: n.unigrams_95 in (0, 1),
    "bi>5 tri>5": lambda s, n: n.bigrams_95 > 5 and n.trigrams_95 > 5,
    "max>=0": lambda s, n: n.activations > 0,
    "-max>=0": lambda s, n: n.activations == 0,
    "max!=0": lambda s, n: n.activations > 0,
    "proj<0": lambda s, n: n.suppresses_triggers is True,
    "proj!=7": lambda s, n: n.order > 0,
    "suppresses_triggers:true": lambda s, n: n.suppresses_triggers is True,
    "sup=false": lambda s, n: n.suppresses_triggers is False,
    "det>=2": lambda s, n: len(n.detected) >= 2,
    "freq:wiki>0.1": lambda s, n: np.float32(n.domain_frequencies[0][1]) > np.float32(0.1),
    "pos:oscillatory": lambda s, n: n.position_type == "oscillatory",
    "pos:strong": lambda s, n: n.position_strength == "strong",
    "pos:any pos:one|both": lambda s, n: n.position_type in ("one", "both"),
    "pos:none": lambda s, n: not n.position_type,
    "type:one strength:weak": lambda s, n: (n.position_type, n.position_strength) == ("one", "weak"),
    "detects:SCHOOL": lambda s, n: detects(s, n, lambda t: "school" in t.casefold()),
    "detects:school|teacher": lambda s, n: detects(
        s, n, lambda t: "school" in t.casefold() or "teacher" in t.casefold()
    ),
    'detects:=" school"': lambda s, n: detects(s, n, lambda t: t == " school"),
    'detects:=" School"': lambda s, n: detects(s, n, lambda t: t == " School"),
    'detects:" s"': lambda s, n: detects(s, n, lambda t: " s" in t.casefold()),
    'detects:"\\n"': lambda s, n: detects(s, n, lambda t: "\n" in t),
    'detects:"\\x1b["': lambda s, n: detects(s, n, lambda t: "\x1b[" in t),
    'promotes:"\\""': lambda s, n: listed(s, n.promoted, lambda t: '"' in t),
    "detects:[/]": lambda s, n: detects(s, n, lambda t: "[/]" in t),
    'detects:"=cmd"': lambda s, n: detects(s, n, lambda t: "=cmd" in t),
    "promotes:school": lambda s, n: listed(s, n.promoted, lambda t: "school" in t.casefold()),
    'suppresses:=" School"|the': lambda s, n: listed(
        s, n.suppressed, lambda t: t == " School" or "the" in t.casefold()
    ),
    "marked": lambda s, n: n.neuron in (3, 17),
    "-marked": lambda s, n: n.neuron not in (3, 17),
    "Noted": lambda s, n: n.neuron == 3,
    "": lambda s, n: True,
}


@pytest.mark.parametrize("text", CASES)
def test_a_filter_holds_for_the_neurons_it_says(store, text):
    assert held(store, text) == wanted(store, lambda neuron: CASES[text](store, neuron))


def test_the_cases_tell_neurons_apart(store):
    everyone = set(range(SIZE))
    trivial = [text for text in CASES if held(store, text) in (set(), everyone)]
    assert set(trivial) <= {
        "",
        "layer:0-5",
        "layer:1|3",
        "layer:0,2",
        "layer>0",
        "acts>-1",
        "acts<99999999999999999999999",
    }


@given(
    terms=st.lists(st.sampled_from(sorted(CASES)), max_size=4),
    minus=st.booleans(),
    gap=st.sampled_from([" ", "\t ", "\n"]),
)
@settings(max_examples=60)
def test_terms_must_all_hold(store, terms, minus, gap):
    terms = [term for text in terms for term in ([text] if " " in text and '"' in text else text.split())]
    expected = set(range(SIZE))
    for term in terms:
        one = held(store, term)
        expected &= set(range(SIZE)) - one if minus and not term.startswith("-") else one
    typed = [f"-{term}" if minus and not term.startswith("-") else term for term in terms]
    assert held(store, gap.join(typed)) == expected


SIGNS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq, "!=": operator.ne}


@given(sign=st.sampled_from(sorted(SIGNS)), number=st.floats(width=32, allow_nan=False, allow_infinity=False))
@settings(max_examples=80)
def test_numbers_compare_as_the_float32_that_they_mean(store, sign, number):
    kept = [n.position_mi for n in store.list[0]]
    for value in (number, kept[int(abs(number)) % len(kept)]):
        text = f"mi{sign}{np.float32(value)}"
        assert held(store, text) == wanted(
            store, lambda n, v=value: SIGNS[sign](np.float32(n.position_mi), np.float32(v))
        )


@given(st.text(alphabet=st.sampled_from(list('kindfreq:<>=!|"-,. 01_m%\\\x1b\néß[]')), max_size=30))
@settings(max_examples=300)
def test_any_text_is_a_filter_or_one_clear_line(text):
    try:
        parse_filter(text, DOMAINS)
    except FilterError as error:
        assert "\n" not in str(error) and "\x1b" not in str(error)
        assert 1 <= error.position <= len(text)
        assert not text[error.position - 1].isspace()


@pytest.mark.parametrize("number", ["1_", "1__0", "1_.5", "5_k", "1_%", "_1", "1_e5", "9" * 350 + "%"])
def test_lines_under_digits_stand_between_them(store, number):
    for column in ("acts", "freq", "max"):
        with pytest.raises(FilterError):
            parse_filter(f"{column}>{number}")
    assert held(store, "acts>1_0") == held(store, "acts>10")


def test_numbers_that_no_float32_can_be(store):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert held(store, "max<1e39") == held(store, "max>-1e39") == held(store, "kind:alive")
        assert held(store, "freq>=1e-46") == held(store, "freq>0")
        assert held(store, "freq<1e-46") == held(store, "freq=0")


@given(st.text(max_size=40).filter(lambda text: text))
@settings(max_examples=200)
def test_every_text_can_be_quoted(text):
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    assert parse_filter(f'detects:="{quoted}"').terms[0].patterns[0].text == text


@pytest.mark.parametrize(
    ("text", "position", "says"),
    [
        ("foo", 1, "detects:"),
        ("kind:token  foo", 13, "unigrams_95 (uni)"),
        ("kind:toke", 1, "bigram"),
        ("uni<=x", 1, "'x' is not a number"),
        ("uni<=5|", 1, "'' is not a number"),
        ("freq>nan", 1, "not a number"),
        ("freq>1e999", 1, "too large"),
        ("mi>0 freq:speech>1", 6, "frequency:wiki, frequency:code"),
        ("detects:", 1, "needs a text"),
        ("detects:a|", 1, "needs a text"),
        ('marked "b', 8, "not closed"),
        ("layer:5-3", 1, "ends before"),
        ("layer:x", 1, "0-5,8"),
        ("-", 1, "negates"),
        ("--marked", 1, "negates"),
        ("-kind:x", 1, "no 'x'"),
        ("pos:tall", 1, "oscillatory"),
        ("kind<3", 1, "kind:"),
        ("proj:1", 1, "compared with a number"),
    ],
)
def test_a_bad_term_is_named_with_its_place_and_what_is_known(text, position, says):
    with pytest.raises(UserError) as error:
        parse_filter(text, DOMAINS)
    assert f"at position {position}:" in str(error.value)
    assert says in str(error.value)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("", (0, 1, 2, 8)),
        ("layer:1-2", (1, 2)),
        ("-layer:1", (0, 2, 8)),
        ("l>1 layer!=8 kind:token", (2,)),
        ("layer:3", ()),
    ],
)
def test_terms_on_layers_leave_layers_out(text, left):
    assert parse_filter(text).layers((0, 1, 2, 8)) == left


def test_an_empty_filter_is_falsy():
    assert not parse_filter("  ") and parse_filter("marked") and parse_filter(" marked ").text == "marked"


def test_completions_of_the_last_word():
    assert "kind:" in complete("", DOMAINS)
    assert complete("kind:token fr", DOMAINS) == ["freq", "frequency"]
    assert complete("-kind:to") == ["-kind:token"]
    assert "kind:token|dead" in complete("kind:token|") and "kind:token|token" not in complete("kind:token|")
    assert complete("freq:w", DOMAINS) == ["freq:wiki"]
    assert complete("pos:os") == ["pos:oscillatory"]
    assert complete('detects:"a') == []
    for text in complete("pos:") + complete("kind:"):
        parse_filter(text)
