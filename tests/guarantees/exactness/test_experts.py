"""Mixtures of experts against the reference: every number of every neuron, which is activated only where its expert was
chosen."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models as tm
import torch
from damage import problems, put
from exact import activations, compare, load, run, sources_of
from same_store import differing
from tiny_experts import CHOSEN, EXPERTS, KINDS, SIZE, tiny_experts

from ffnscope.core.activations import threshold_recorder
from ffnscope.core.check_projections import check_projections
from ffnscope.core.prompt import PromptModel
from ffnscope.store.concepts.descriptions import formula_query
from ffnscope.store.export.write import write
from ffnscope.store.format.encoding import encode_array
from ffnscope.store.format.keys import LAYER_KEY
from ffnscope.store.format.schema import ABSENT
from ffnscope.store.query.filter import parse_filter
from ffnscope.store.query.positions import parse_query
from ffnscope.store.query.select import select
from ffnscope.store.reader import Store
from ffnscope.store.records import Progress
from ffnscope.store.verify.check import verify


def domains_of(sizes: tuple[int, ...] = (7, 5, 4), length: int = 16) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {f"d{i}": tm.random_windows(rng, size, length, tm.VOCAB, tm.BOS_ID) for i, size in enumerate(sizes)}


@pytest.mark.parametrize("kind", KINDS)
def test_every_number_of_every_kind(kind: str, tmp_path: Path) -> None:
    folder, domains = tiny_experts(kind, tmp_path), domains_of()
    store = run(
        folder,
        sources_of(tmp_path / "data", domains, ["d2"]),
        tmp_path / "run.ffn",
        bos_id=tm.BOS_ID,
        batch_size=5,
        min_occurrences=1,
        group_layers=2,
    )
    met = compare(store, folder, np.concatenate(list(domains.values())))
    assert met.kinds["dead"] > 0 and len(met.kinds) > 1
    with Store.open(store) as opened:
        model = opened.run.model
        assert (model.experts, model.experts_per_token) == (EXPERTS, CHOSEN)
        for layer in opened.layers():
            expert, chosen = opened.column(layer, "expert"), opened.column(layer, "expert_positions")
            if not len(chosen):
                assert (expert == ABSENT).all()
                continue
            first = opened.neurons(layer) - EXPERTS * SIZE
            assert (expert[:first] == ABSENT).all()
            assert np.array_equal(expert[first:], np.repeat(np.arange(EXPERTS), SIZE))
            assert chosen.sum(axis=0).tolist() == [CHOSEN * windows.size for windows in domains.values()]


@pytest.mark.parametrize("kind", ["mixtral", "qwen2_moe", "gpt_oss", "deepseek_v3", "llama4_text"])
def test_the_store_does_not_depend_on_how_it_was_run(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Offloaded and group by group; in half precision too, whose rows are recorded by torch."""
    folder, sources = tiny_experts(kind, tmp_path), sources_of(tmp_path / "data", domains_of())
    options = {"bos_id": tm.BOS_ID, "batch_size": 5}
    plain = run(folder, sources, tmp_path / "plain", **options)
    offloaded = run(folder, sources, tmp_path / "offloaded", offload=True, group_layers=1, **options)
    assert differing(plain, offloaded) == []
    with Store.open(plain) as store:
        assert list(verify(store)) == []
    # In half precision, torch's grouped product takes rows of multiples of 16 bytes.
    folder = tiny_experts(kind, tmp_path, moe_intermediate_size=16, intermediate_size=16)
    half = run(folder, sources, tmp_path / "half", dtype="bfloat16", **options)
    compare(half, folder, np.concatenate(list(domains_of().values())))


def test_sizes_that_the_grouped_product_does_not_take(tmp_path: Path) -> None:
    folder, domains = tiny_experts("mixtral", tmp_path, intermediate_size=9), domains_of()
    store = run(folder, sources_of(tmp_path / "data", domains), tmp_path / "run", bos_id=tm.BOS_ID, batch_size=5)
    model = load(folder)
    model.set_experts_implementation("batched_mm")
    expected = activations(model, np.concatenate(list(domains.values())), 5)
    with Store.open(store) as opened:
        for layer, (before, after) in enumerate(expected):
            active = before > 0
            assert opened.column(layer, "activations").tolist() == active.sum(axis=(0, 1)).tolist()
            largest = np.where(active, after, 0).max(axis=(0, 1))
            assert np.nan_to_num(opened.column(layer, "max_activation")).tolist() == largest.tolist()


def test_a_run_that_was_stopped_goes_on(tmp_path: Path) -> None:
    folder, sources = tiny_experts("deepseek_v3", tmp_path), sources_of(tmp_path / "data", domains_of())
    options = {"bos_id": tm.BOS_ID, "batch_size": 5, "group_layers": 1}
    whole = run(folder, sources, tmp_path / "whole", **options)

    def stop(event: object) -> None:
        if isinstance(event, Progress) and event.layers_done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(folder, sources, tmp_path / "cut", stop, **options)
    run(folder, sources, tmp_path / "cut", resume=True, **options)
    assert differing(whole, tmp_path / "cut") == []


def test_questions_about_kept_bits_filters_and_files(tmp_path: Path) -> None:
    folder, domains = tiny_experts("qwen2_moe", tmp_path), domains_of()
    store = run(folder, sources_of(tmp_path / "data", domains), tmp_path / "run", bos_id=tm.BOS_ID, batch_size=5)
    tokens = np.concatenate(list(domains.values()))
    model = load(folder)
    with Store.open(store) as opened:
        kept = tokens.reshape(-1) != tm.BOS_ID
        for layer in opened.layers():
            before = activations(model, tokens, 5)[layer][0]
            active = (before > 0).reshape(tokens.size, -1)[kept]
            for neuron in (0, 9, opened.neurons(layer) - 1):
                assert np.array_equal(opened.kept.neuron(layer, neuron), active[:, neuron])
            expert = parse_filter("expert:1,3").mask(opened, layer)
            routed = np.isin(opened.column(layer, "expert"), (1, 3))
            assert np.array_equal(expert, routed) and routed.any() == (layer != 1)
            assert opened.neuron(layer, 0).expert is None
        out = io.StringIO()
        write(opened, out, select(opened, parse_filter("expert>=3"), sort="expert"), ["layer", "neuron", "expert"])
        rows = out.getvalue().splitlines()
        assert rows[0] == "layer,neuron,expert" and rows[1] == f"0,{10 + 3 * SIZE},3" and len(rows) == 1 + 2 * SIZE
        assert write(opened, io.StringIO()) == sum(opened.run.model.layer_neurons) == 58 + 21 + 58
        chosen, expert = opened.column(0, "expert_positions"), opened.column(0, "expert")
    for name, array, says in (
        ("expert_positions", chosen + chosen.dtype.type(1), "experts"),
        ("expert_positions", chosen[:-1], "experts"),
        ("expert", np.where(expert == 1, expert.dtype.type(EXPERTS), expert), "has experts that are out of range"),
    ):
        put(store, "columns", LAYER_KEY.pack(0) + name.encode(), encode_array(array))
        found = problems(store)
        assert any("layer 0" in line and says in line for line in found), found


def test_a_prompt_and_projections_computed_anew(tmp_path: Path) -> None:
    folder, domains = tiny_experts("deepseek_v3", tmp_path), domains_of()
    tm.tiny_tokenizer(folder, vocab=tm.words(tm.VOCAB - 3))
    store = run(folder, sources_of(tmp_path / "data", domains), tmp_path / "run", bos_id=tm.BOS_ID, batch_size=5)
    with Store.open(store) as opened:
        assert list(check_projections(opened, str(folder))) == []
        prompt = PromptModel.load(opened.run)
        found = prompt.run(tm.random_text(np.random.default_rng(0), 9))
        sizes = opened.run.model.layer_neurons
    assert found is not None
    direct = prompt.direct_effects(found.tokens, 7)
    assert [direct.neurons[layer].shape for layer in range(3)] == [(len(found.tokens), size) for size in sizes]
    for layer, (before, after) in enumerate(activations(load(folder), found.tokens[None], 1)):
        assert np.array_equal(found.active[layer], before[0] > 0)
        np.testing.assert_allclose(found.values[layer], np.where(before[0] > 0, after[0], 0), rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "rule", "options"),
    [
        ("mixtral", "share:0.1", {}),
        ("qwen2_moe", "share:0.05", {"offload": True, "group_layers": 1}),
        ("gpt_oss", "share:0.2", {"dtype": "bfloat16"}),
        ("deepseek_v3", "share:0.03", {}),
        ("llama4_text", "share:0.1", {}),
    ],
)
def test_every_number_by_thresholds(
    kind: str, rule: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "mixtral":
        monkeypatch.setattr(threshold_recorder, "CELLS", 1)  # compares window by window
    sizes = {"moe_intermediate_size": 16, "intermediate_size": 16} if "dtype" in options else {}
    folder, domains = tiny_experts(kind, tmp_path, **sizes), domains_of()
    lines: list[str] = []
    store = run(
        folder,
        sources_of(tmp_path / "data", domains, ["d2"]),
        tmp_path / "run.ffn",
        lambda event: lines.append(event) if isinstance(event, str) else None,
        bos_id=tm.BOS_ID,
        batch_size=5,
        min_occurrences=1,
        activated=rule,
        **options,
    )
    compare(store, folder, np.concatenate(list(domains.values())))
    with Store.open(store) as opened:
        assert list(verify(opened)) == []
        layer = next(layer for layer in opened.layers() if (opened.column(layer, "expert") != ABSENT).any())
        lines = [line for line in lines if line.startswith(f"layer {layer}: ")]
        routed = opened.column(layer, "expert") != ABSENT
        never = opened.column(layer, "threshold") == 0
        # An expert that is chosen more rarely than the share has no threshold above 0.
        assert never.any() == any("wherever a token is routed to their expert" in line for line in lines)
        assert not never[~routed].any()
        chosen = opened.column(layer, "expert_positions").sum(axis=1)[opened.column(layer, "expert")[never & routed]]
        assert opened.column(layer, "activations")[never].tolist() == chosen.tolist()


@pytest.mark.parametrize("silent", [0, 2])
def test_thresholds_of_0_of_shared_and_of_routed_neurons_are_told_apart(silent: int, tmp_path: Path) -> None:
    """A neuron of shared experts that is 0 nearly everywhere counts as activated everywhere, a routed one where its expert is
    chosen."""
    folder, domains = tiny_experts("qwen2_moe", tmp_path), domains_of()
    model = load(folder)
    with torch.no_grad():
        model.model.layers[0].mlp.shared_expert.up_proj.weight[:silent] = 0
        model.model.layers[0].mlp.experts.gate_up_proj[1, SIZE] = 0  # the other branch of its first neuron
    model.save_pretrained(folder)
    lines: list[Any] = []
    options = {"bos_id": tm.BOS_ID, "batch_size": 5, "activated": "share:0.05"}
    store = run(folder, sources_of(tmp_path / "data", domains), tmp_path / "run.ffn", lines.append, **options)
    said = [line for line in lines if isinstance(line, str) and line.startswith("layer 0: ")]
    with Store.open(store) as opened:
        never, shared = opened.column(0, "threshold") == 0, opened.column(0, "expert") == ABSENT
        positions = sum(windows.size for windows in domains.values())
        assert opened.column(0, "activations")[never & shared].tolist() == [positions] * silent
        routed = int((never & ~shared).sum())
    reason = "are 0 at so many positions that their threshold is 0: they count as activated"
    wanted = [f"layer 0: {routed} neurons {reason} wherever a token is routed to their expert"]
    if silent:
        wanted.insert(0, f"layer 0: {silent} neurons {reason} everywhere")
    assert routed > 0 and said == wanted


def test_descriptions_of_experts_neurons(tmp_path: Path) -> None:
    """The figures of a description are those of the activations of Hugging Face's own forward pass."""
    folder, rng = tiny_experts("qwen2_moe", tmp_path), np.random.default_rng(3)
    domains = {name: tm.random_windows(rng, 50, 32, tm.VOCAB, tm.BOS_ID) for name in ("low", "high")}
    domains["low"][:, 1:] //= 8  # other tokens, so other experts
    store = run(folder, sources_of(tmp_path / "data", domains), tmp_path / "run", bos_id=tm.BOS_ID, keep="all")
    tokens = np.concatenate(list(domains.values()))
    outcome = activations(load(folder), tokens, len(tokens))
    described = 0
    with Store.open(store) as opened:
        kept = opened.kept
        for layer in (0, 2):
            formulas, figures = (opened.column(layer, f"concept_{name}") for name in ("formula", "figures"))
            routed = np.flatnonzero((formulas[:, 0, 1] != 0) & (opened.column(layer, "expert") != ABSENT))
            described += len(routed)
            active = (outcome[layer][0] > 0)[tokens != tm.BOS_ID]
            for neuron in routed.tolist():
                query = parse_query(formula_query(formulas[neuron, 0].tolist(), opened.concepts))
                where, fires = query.members(kept)[~kept.even], active[~kept.even, neuron]
                hits = (where & fires).sum()
                expected = hits / fires.sum(), hits / where.sum(), 2 * hits / (where.sum() + fires.sum())
                assert figures[neuron, 0] == pytest.approx(expected, abs=1e-6)
    assert described > 5
