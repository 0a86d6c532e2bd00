"""Descriptions in a store of the demo model: each is the query that it is written as, with that query's figures."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from exact import DEMO, run

import ffnscope.store
from ffnscope.core.corpus.sources import DomainSource
from ffnscope.store.bits.kept import KeptBits
from ffnscope.store.concepts.descriptions import formula_query, formula_texts
from ffnscope.store.query.filter import parse_filter
from ffnscope.store.query.positions import parse_query
from ffnscope.store.query.select import select
from ffnscope.store.verify.check import verify

LAYER = 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("described")
    sources = tuple(DomainSource(name, DEMO / "corpus" / f"{name}.jsonl") for name in ("wiki", "code"))
    options = {"seq_len": 256, "max_tokens": 6000, "layers": str(LAYER)}
    return run(DEMO / "model", sources, folder / "s.ffn", **options)


def test_a_description_is_a_query_with_the_same_figures(folder) -> None:
    with ffnscope.store.open(folder) as store:
        kept = KeptBits(store)
        formulas, figures = (store.column(LAYER, f"concept_{name}") for name in ("formula", "figures"))
        described = np.flatnonzero(formulas[:, 0, 1])
        assert len(described) > 50
        odd = ~kept.even
        for neuron in described[::20].tolist():
            fires = parse_query(f"neuron:L{LAYER}N{neuron}").members(kept)[odd]
            for formula, expected in zip(formulas[neuron].tolist(), figures[neuron], strict=True):
                where = parse_query(formula_query(formula, store.concepts)).members(kept)[odd]
                hits = (where & fires).sum()
                found = hits / fires.sum(), hits / where.sum(), 2 * hits / (where.sum() + fires.sum())
                assert expected == pytest.approx(found, abs=1e-6)


def test_columns_filters_and_records_agree(folder) -> None:
    with ffnscope.store.open(folder) as store:
        texts = formula_texts(store, LAYER)
        table = store.table(LAYER, ["concept_f1", "concept_precision", "concept_recall"])
        named = {neuron for neuron, text in enumerate(texts) if "function_word" in text.replace("|", " ").split()}
        assert named and named >= {
            neuron for _, neuron in select(store, parse_filter("concept:=function_word")).tolist()
        }
        for neuron in sorted(named)[:5]:
            best = store.neuron(LAYER, neuron).descriptions[0]
            figures = [float(table[f"concept_{name}"][neuron]) for name in ("precision", "recall", "f1")]
            assert [best.precision, best.recall, best.f1] == figures and best.f1 >= 0.2
        assert select(store, parse_filter("concept_f1>=0.2")).tolist() == [
            [LAYER, n] for n, text in enumerate(texts) if text
        ]
        order = [texts[neuron] for _, neuron in select(store, parse_filter("concept_f1>=0.2"), "concept").tolist()]
        assert len(set(order)) == 1 + sum(a != b for a, b in pairwise(order)), "equal ones together"
        assert list(verify(store)) == []
