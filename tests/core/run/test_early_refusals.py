"""What can be refused before anything long is done is refused then, and a refused run has not begun."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_models as tm
import torch
import transformers as hf
from damage import put
from exact import run, sources_of
from synthetic import make_store

from ffnscope.core.activations import budget as plan
from ffnscope.core.corpus.sources import DomainSource
from ffnscope.core.corpus.windows import Corpus, Domain
from ffnscope.core.model.layered import LayeredModel
from ffnscope.core.model.source import open_model
from ffnscope.core.run import prepare
from ffnscope.core.run.request import CollectRequest, check_request
from ffnscope.core.run.signals import interruptible
from ffnscope.core.statistics.tables import make_tables
from ffnscope.store.errors import DamagedStoreError, UserError
from ffnscope.store.reader import Store

ABSENT = (DomainSource("text", Path("there-is-no-such-file.txt")),)


def windows(folder: Path, count: int = 5, seed: int = 0, **domains: bool) -> tuple[DomainSource, ...]:
    """A domain of random windows for each name; True where it is count only."""
    rng = np.random.default_rng(seed)
    made = {name: tm.random_windows(rng, count, 8, tm.VOCAB, 0) for name in domains or {"all": False}}
    return sources_of(folder, made, [name for name, only in domains.items() if only])


@pytest.mark.parametrize("layers", ["3", "junk", ""])
def test_layers_are_looked_at_before_the_corpus(layers: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--layers"):
        run(tm.tiny("opt", tmp_path), ABSENT, tmp_path / "run.ffn", layers=layers)


def test_a_model_without_ffns_is_refused_before_the_corpus(tmp_path: Path) -> None:
    config = hf.MambaConfig(vocab_size=64, hidden_size=16, num_hidden_layers=2, state_size=4)
    hf.MambaForCausalLM(config).save_pretrained(tmp_path / "mamba")
    with pytest.raises(UserError, match=r"its FFN was not found.*there is mixer"):
        run(tmp_path / "mamba", ABSENT, tmp_path / "run.ffn")


@pytest.mark.parametrize("options", [{"scratch_gb": 1e-9}, {"scratch_gb": 1e9}])
def test_a_run_that_does_not_fit_has_not_begun(options: dict[str, float], tmp_path: Path) -> None:
    model, sources = tm.tiny("opt", tmp_path), windows(tmp_path / "data")
    with pytest.raises(UserError, match="--scratch"):
        run(model, sources, tmp_path / "run.ffn", **options)
    assert not (tmp_path / "run.ffn" / "data.mdb").exists()
    with Store.open(run(model, sources, tmp_path / "run.ffn")) as store:
        assert store.complete


def test_a_run_that_does_not_fit_overwrites_nothing(tmp_path: Path) -> None:
    model, sources = tm.tiny("opt", tmp_path), windows(tmp_path / "data")
    run(model, sources, tmp_path / "run.ffn")
    with pytest.raises(UserError, match="--scratch"):
        run(model, sources, tmp_path / "run.ffn", overwrite=True, scratch_gb=1e-9)
    with Store.open(tmp_path / "run.ffn") as store:
        assert store.complete


def test_a_run_that_cannot_be_counted_overwrites_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, sources = tm.tiny("opt", tmp_path), windows(tmp_path / "data")
    run(model, sources, tmp_path / "run.ffn")
    with monkeypatch.context() as few, pytest.raises(UserError, match="counting needs"):
        few.setattr(plan, "available_memory", lambda: 1 << 10)
        run(model, sources, tmp_path / "run.ffn", overwrite=True)

    def refuse(*_: object) -> None:
        raise UserError("cannot be run one by one")

    with monkeypatch.context() as odd, pytest.raises(UserError, match="one by one"):
        odd.setattr(LayeredModel, "_check_second", refuse)
        run(model, sources, tmp_path / "run.ffn", overwrite=True)
    with Store.open(tmp_path / "run.ffn") as store:
        assert store.complete


def test_more_positions_than_counters_hold_are_refused() -> None:
    tokens = np.broadcast_to(np.int32(1), (1 << 20, 1 << 11))
    corpus = Corpus(tokens, (Domain("a", 0, 1 << 20, 0, 1, False, "x"),), 0, 50)
    with pytest.raises(UserError, match=r"2,147,483,648 positions are more .*--count-only"):
        make_tables(corpus)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"max_tokens": 16}, r"b had 5 windows"),
        ({"bos_id": 3}, r"its BOS id was 0"),
        ({"sources": "renamed"}, r"its domains were a, b \(count only\)"),
    ],
)
def test_which_part_of_the_corpus_differs_is_said(change: dict[str, object], said: str, tmp_path: Path) -> None:
    model = tm.tiny("opt", tmp_path)
    options: dict[str, object] = {"sources": windows(tmp_path / "data", a=False, b=True), "bos_id": 0}
    run(model, store=tmp_path / "run.ffn", **options)  # type: ignore[arg-type]
    if "sources" in change:
        change = {"sources": windows(tmp_path / "more", c=False, b=True)}
    with pytest.raises(UserError, match=f"cannot be resumed.*{said}"):
        run(model, store=tmp_path / "run.ffn", resume=True, **options | change)  # type: ignore[arg-type]


def test_layers_that_share_an_activation_function_are_told_apart(tmp_path: Path) -> None:
    config = hf.OpenAIGPTConfig(vocab_size=tm.VOCAB, n_embd=16, n_layer=3, n_head=2, n_positions=tm.SEQ_LEN)
    torch.manual_seed(0)
    model = hf.OpenAIGPTLMHeadModel(config).eval()
    blocks = model.transformer.h
    assert blocks[0].mlp.act is blocks[2].mlp.act
    model.save_pretrained(tmp_path / "model")
    source = windows(tmp_path / "data")
    seen: list[torch.Tensor] = []
    for block in blocks:
        block.mlp.c_fc.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.inference_mode():
        model(torch.from_numpy(np.load(source[0].path).astype(np.int64)))
    with Store.open(run(tmp_path / "model", source, tmp_path / "run.ffn", batch_size=5)) as store:
        for layer, before in enumerate(seen):
            assert store.column(layer, "activations").tolist() == (before > 0).sum(dim=(0, 1)).tolist()


def test_the_default_of_the_windows_length_is_the_limit_of_models_that_call_it_otherwise(tmp_path: Path) -> None:
    config = hf.MptConfig(d_model=16, n_heads=2, n_layers=2, vocab_size=tm.VOCAB, max_seq_len=tm.SEQ_LEN)
    hf.MptForCausalLM(config).save_pretrained(tmp_path)
    assert open_model(str(tmp_path)).positions == tm.SEQ_LEN


def test_small_budgets_are_said_in_numbers_that_are_not_0(tmp_path: Path) -> None:
    model, sources = tm.tiny("opt", tmp_path), windows(tmp_path / "data", 2000)
    with pytest.raises(UserError, match=r"[1-9]\.\d MiB of scratch are needed and 0\.1 MiB may be used"):
        run(model, sources, tmp_path / "run.ffn", scratch_gb=0.0001)


def test_a_disk_that_is_full_while_windows_are_kept_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tm.tiny("opt", tmp_path, tokenizer=True)
    (tmp_path / "text.txt").write_text(tm.random_text(np.random.default_rng(0), 200), encoding="utf-8")

    def save(*_: object, **__: object) -> None:
        raise OSError("3000 requested and 12 written")  # numpy's own, without errno

    monkeypatch.setattr(np, "save", save)
    with pytest.raises(UserError, match=r"3000 requested and 12 written.*--scratch"):
        run(model, (DomainSource("text", tmp_path / "text.txt"),), tmp_path / "run.ffn")


def test_a_damaged_store_is_overwritten_where_that_is_asked_for(tmp_path: Path) -> None:
    store = make_store(tmp_path / "run.ffn", neurons=16)
    put(store, "meta", b"format", None)
    request = CollectRequest("model", ABSENT, store)
    with pytest.raises(DamagedStoreError, match="its run entry is missing"):
        check_request(request)
    check_request(replace(request, overwrite=True))


def test_where_nobody_says_how_much_memory_is_free_a_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "available_memory", lambda: None)
    with Store.open(run(tm.tiny("opt", tmp_path), windows(tmp_path), tmp_path / "run.ffn", hidden="memory")) as store:
        assert store.complete


@pytest.mark.parametrize("choice", ["auto", "device"])
def test_more_positions_than_a_gpu_counts_exactly(choice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare.DeviceCounter, "exact", lambda tables: False)
    prepared = SimpleNamespace(
        request=SimpleNamespace(count_on=choice), model=SimpleNamespace(device=torch.device("cuda")), tables=None
    )
    count = prepare.Prepared.device_counter.func
    if choice == "auto":
        assert count(prepared) is None
    else:
        with pytest.raises(UserError, match="counts exactly up to 16,777,216 positions; use --count-on host"):
            count(prepared)


@pytest.mark.parametrize("main", [True, False])
def test_signals_stop_a_run_in_the_main_thread_only(main: bool) -> None:
    """Python lets no other thread handle them."""

    def work() -> None:
        with interruptible():
            handlers.append(signal.getsignal(signal.SIGTERM))

    before, handlers = signal.getsignal(signal.SIGTERM), []
    if main:
        work()
    else:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(work).result()
    assert (handlers[0] is before) == (not main) and signal.getsignal(signal.SIGTERM) is before
