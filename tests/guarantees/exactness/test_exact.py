"""The store against the reference: every column and record of every neuron, for every family of models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference as ref
import tiny_models as tm
from exact import Compared, compare, run, sources_of
from exact_case import Case, windows_of
from transformers import AutoTokenizer

from ffnscope.core.corpus.sources import DomainSource
from ffnscope.store.reader import Store

CASES = {
    "short": Case(8, (9, 7, 5), count_only=1, min_occurrences=1, batch_size=4, group_layers=2),
    "no-bos": Case(13, (14,), bos_id=None, batch_size=5),
    "long": Case(64, (3, 2), layers=(0, 2), batch_size=3, min_occurrences=2, group_layers=1, offload=True),
}
MORE = {
    "one-window": Case(13, (1,), min_occurrences=1),
    "one-position": Case(1, (31,), bos_id=None, min_occurrences=1),
    "bos-and-one": Case(2, (31,), min_occurrences=1),
    "many-domains": Case(8, (1, 3, 2, 9, 1, 4, 2, 2), count_only=3, min_occurrences=2, batch_size=4),
    "mostly-count-only": Case(13, (2, 40), count_only=1, min_occurrences=1, batch_size=9),
    "offloaded": Case(13, (9, 5), count_only=1, batch_size=4, offload=True),
    "default-batch": Case(13, (23, 5), batch_size=None),
    "batch-fits": Case(16, (12,), batch_size=6),
    "batch-too-large": Case(16, (5,), batch_size=50),
    "window-by-window": Case(31, (6,), batch_size=1),
    "last-layer": Case(9, (9,), layers=(2,), batch_size=4, group_layers=1),
    "middle-layer": Case(9, (9,), layers=(1,), batch_size=4),
    "lists-longer-than-vocabulary": Case(8, (9,), top_k=500),
    "lists-of-one": Case(8, (9,), top_k=1),
    "two-hundred-and-fifty-six-windows": Case(4, (256,), batch_size=100),
    "all-tokens-alike": Case(24, (12,), zipf=False, min_occurrences=1),
    "half": Case(24, (12,), dtype="float16", batch_size=5),
    "brain-half": Case(24, (12, 3), count_only=1, dtype="bfloat16", batch_size=5),
}


def check(model: Path, case: Case, folder: Path) -> Compared:
    """Collect what a case says, and compare the whole store."""
    domains = windows_of(case, tm.VOCAB)
    count_only = list(domains)[len(domains) - case.count_only :]
    store = run(
        model,
        sources_of(folder / "data", domains, count_only),
        folder / "run.ffn",
        bos_id=case.bos_id,
        layers="all" if case.layers is None else ",".join(map(str, case.layers)),
        dtype=case.dtype,
        min_occurrences=case.min_occurrences,
        batch_size=case.batch_size,
        top_k=case.top_k,
        group_layers=case.group_layers,
        offload=case.offload,
    )
    return compare(store, model, np.concatenate(list(domains.values())), layers=case.layers)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint of every family, with 64 positions where the family limits them."""
    folder = tmp_path_factory.mktemp("models")
    made = {}
    for family in tm.FAMILIES:
        named = {"gpt2": "n_positions", "gptj": "n_positions"}.get(family, "max_position_embeddings")
        positions: dict[str, Any] = {} if family == "bloom" else {named: 64}
        made[family] = tm.tiny(family, folder, **positions)
    return made


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("family", tm.FAMILIES)
def test_every_number_of_every_family(models: dict[str, Path], family: str, name: str, tmp_path: Path) -> None:
    met = check(models[family], CASES[name], tmp_path)
    assert met.kinds["dead"] > 0
    assert len(met.kinds) > 1


@pytest.mark.parametrize("name", MORE)
def test_every_number_of_every_setting(models: dict[str, Path], name: str, tmp_path: Path) -> None:
    check(models["opt"], MORE[name], tmp_path)


@pytest.mark.parametrize("activation", ["relu", "gelu", "gelu_new", "silu", "relu2"])
@pytest.mark.parametrize("family", ["opt", "llama"])
def test_every_activation_function(family: str, activation: str, tmp_path: Path) -> None:
    check(tm.tiny(family, tmp_path, activation=activation), Case(16, (9, 4), batch_size=5), tmp_path)


@pytest.mark.parametrize("shape", [{"shards": True}, {"bin": True}, {"dtype": "float16"}, {"ffn_dim": 1}])
def test_every_shape_of_checkpoint(shape: dict[str, Any], tmp_path: Path) -> None:
    check(tm.tiny("opt", tmp_path, **shape), Case(16, (9, 4), batch_size=5), tmp_path)


@pytest.mark.parametrize("bos", [True, False])
def test_text_is_cut_into_the_windows_that_are_counted(bos: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    model = tm.tiny("opt", tmp_path, tokenizer=False)
    tm.tiny_tokenizer(model, vocab=tm.words(tm.VOCAB - 3), bos=bos, eos=False)
    tokenizer = AutoTokenizer.from_pretrained(model)
    bos_id = tm.BOS_ID if bos else None
    sources, tokens = [], []
    for name, sizes in {"one": (150,), "many": (3, 40, 1, 90, 12), "counted": (60, 60)}.items():
        folder = tmp_path / name
        folder.mkdir()
        texts = [tm.random_text(rng, size) for size in sizes]
        for number, text in enumerate(texts):
            (folder / f"{number}.txt").write_text(text, encoding="utf-8")
        documents = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        tokens.append(ref.cut_windows(documents, 13, bos_id)[0])
        sources.append(DomainSource(name, folder, name == "counted"))
    store = run(model, tuple(sources), tmp_path / "run.ffn", seq_len=13, batch_size=4, min_occurrences=2)
    compare(store, model, np.concatenate(tokens))
    with Store.open(store) as opened:
        assert [d.windows for d in opened.run.corpus.domains] == [len(part) for part in tokens]


def test_most_windows_of_a_domain(models: dict[str, Path], tmp_path: Path) -> None:
    domains = windows_of(Case(8, (19, 12)), tm.VOCAB)
    store = run(models["opt"], sources_of(tmp_path, domains), tmp_path / "run.ffn", max_tokens=8 * 10 + 7, bos_id=0)
    compare(store, models["opt"], np.concatenate([part[:10] for part in domains.values()]))
