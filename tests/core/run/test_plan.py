"""A dry run says what the run does, and starts nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models as tm
import torch
from exact import run, sources_of
from tiny_experts import EXPERTS, SIZE, WIDTH, tiny_experts

from ffnscope.core.corpus.sources import DomainSource
from ffnscope.core.model import host_experts
from ffnscope.core.model.load import load_model
from ffnscope.core.model.offload import load_offloaded
from ffnscope.core.model.shape import model_shape
from ffnscope.core.model.source import open_model
from ffnscope.core.run import plan as module
from ffnscope.core.run.plan import ARITHMETIC, EXACT, MEASURED, _duration, plan_run
from ffnscope.core.run.request import CollectRequest
from ffnscope.store.errors import UserError
from ffnscope.tui.cli import main


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three layers."""
    return tm.tiny("llama", tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[DomainSource, ...]:
    """A counted domain and a count-only one."""
    rng = np.random.default_rng(0)
    domains = {f"domain{i}": tm.random_windows(rng, count, 12, tm.VOCAB, 0) for i, count in enumerate((9, 6))}
    return sources_of(tmp_path_factory.mktemp("data"), domains, ["domain1"])


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small measurements."""
    monkeypatch.setattr(module, "PROBE_SECONDS", 0.01)
    monkeypatch.setattr(module, "PROBE_SIZE", {"cpu": 64})


@pytest.mark.parametrize(
    "options",
    [{}, {"group_layers": 2}, {"offload": True}, {"hidden": "memory"}, {"layers": "1", "group_layers": 1, "keep": "3"}],
)
def test_the_plan_is_what_the_run_then_says(
    options: dict[str, Any], model: Path, sources: tuple[DomainSource, ...], tmp_path: Path
) -> None:
    request = CollectRequest(str(model), sources, tmp_path / "run.ffn", device="cpu", bos_id=0, **options)
    lines = {line.name: line for line in plan_run(request, lambda event: None)}
    assert not (tmp_path / "run.ffn").exists()
    said: list[str] = []
    run(model, sources, tmp_path / "run.ffn", lambda event: said.append(str(event)), bos_id=0, **options)
    (started,) = [line for line in said if " of scratch in " in line]
    assert started.startswith(lines["groups"].text + ", " + lines["scratch"].text.split(" at most")[0])
    assert lines["hidden states"].text in said
    assert "180 positions in 15 windows of 12" in lines["corpus"].text
    assert {line.kind for line in lines.values()} == {EXACT, MEASURED, ARITHMETIC}
    assert all("\n" not in line.text for line in lines.values())


def test_a_plan_with_thresholds_has_the_groups_of_the_run(
    model: Path, sources: tuple[DomainSource, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ffnscope.core.activations.thresholds.GROUP_BYTES", 1)
    request = CollectRequest(str(model), sources, tmp_path / "s.ffn", bos_id=tm.BOS_ID, activated="share:0.1")
    groups = next(line.text for line in plan_run(request, lambda event: None) if line.name == "groups")
    events: list[Any] = []
    run(model, sources, tmp_path / "s.ffn", events.append, bos_id=tm.BOS_ID, activated="share:0.1")
    assert groups == "3 groups of 1 layer" and any(str(event).startswith(groups) for event in events)


def test_what_cannot_run_is_refused(model: Path, sources: tuple[DomainSource, ...], tmp_path: Path) -> None:
    for options, said in (({"scratch_gb": 1e-9}, "of scratch are needed"), ({"layers": "7"}, "--layers 7")):
        request = CollectRequest(str(model), sources, tmp_path / "run.ffn", device="cpu", **options)
        with pytest.raises(UserError, match=said):
            plan_run(request, lambda event: None)


def test_the_command_prints_it_and_starts_nothing(
    model: Path, sources: tuple[DomainSource, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "run.ffn"
    given = ["--data", f"a={sources[0].path}", "--store", str(store), "--bos-id", "0", "--device", "cpu", "--plan"]
    assert main(["collect", str(model), *given]) == 0
    out = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in out][:3] == ["model", "corpus", "groups"]
    assert out[-1].startswith("time ") and "arithmetic" in out[-1]
    assert not store.exists()


@pytest.mark.parametrize("family", ["opt350", "llama_tied", "gpt2", "falcon"])
def test_a_shape_needs_no_weights(family: str, tmp_path: Path) -> None:
    folder = tm.tiny(family, tmp_path)
    plain = load_model(open_model(str(folder)), torch.device("cpu"), torch.bfloat16)
    source = open_model(str(folder))
    (folder / "model.safetensors").write_bytes(b"")
    shape = model_shape(source, torch.bfloat16)
    assert (shape.layers, shape.neurons, shape.width) == (plain.count, plain.neurons, plain.width)
    assert shape.layer_bytes == sum(each.nbytes for each in plain.layer(0).parameters()) == 2 * shape.layer_values
    assert shape.around_bytes + shape.layers * shape.layer_bytes == sum(
        each.nbytes for each in plain.model.parameters()
    )


@pytest.mark.parametrize("kind", ["qwen2_moe", "gpt_oss", "deepseek_v3"])
def test_a_shape_of_a_mixture_has_the_bytes_that_stay_on_the_host(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_experts(kind, tmp_path)
    source, cpu = open_model(str(folder)), torch.device("cpu")
    shape = model_shape(source, torch.float32)
    for home in ("offload", "shape"):
        monkeypatch.setattr(f"ffnscope.core.model.{home}.layer_fits", lambda *_: False)
    offloaded = load_offloaded(source, cpu, torch.float32)
    assert offloaded.experts_on_host and shape.experts_on_host(cpu)
    assert shape.layer_bytes == offloaded._largest_layer()
    on_host = [offloaded._bytes(offloaded._on_host(layer)) for layer in range(offloaded.count)]
    assert shape.expert_bytes == max(on_host) > shape.layer_bytes / 3
    state = offloaded.base.state_dict()
    loaded = sum(state[key].nbytes for key in state if not key.startswith(offloaded.layers_path))
    assert shape.around_bytes - shape.unembedding_bytes == loaded
    assert shape.unembedding_bytes == offloaded.unembedding().nbytes
    largest = 4 * 2 * SIZE * WIDTH  # the gate and the other branch of an expert, in float32
    assert shape.moved_bytes == EXPERTS * largest
    monkeypatch.setattr(host_experts, "MOVED_BYTES", 1)
    assert model_shape(source, torch.float32).moved_bytes == 2 * largest


def test_a_plan_says_how_experts_are_computed(tmp_path: Path) -> None:
    folder = tiny_experts("mixtral", tmp_path)
    domains = {"a": tm.random_windows(np.random.default_rng(0), 9, 12, tm.VOCAB, 0)}
    request = CollectRequest(
        str(folder), sources_of(tmp_path / "data", domains), tmp_path / "s.ffn", device="cpu", bos_id=0
    )
    lines = [line for line in plan_run(request, lambda event: None) if line.name == "experts"]
    assert [line.text for line in lines] == ["its experts are computed by transformers' grouped_mm"]


def test_a_group_that_fits_is_the_one_that_is_loaded(model: Path) -> None:
    source = open_model(str(model))
    offloaded = load_offloaded(source, torch.device("cpu"), torch.float32)
    assert offloaded.most_layers() == 1
    assert model_shape(source, torch.float32).layer_bytes == sum(
        offloaded._state[key].numel() * 4 for key in offloaded._keys(0)
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.21, "3.2 s"), (45.4, "45 s"), (90, "2 min"), (5399, "90 min"), (9000, "2.5 h")]
)
def test_how_long_is_said_as_people_say_it(seconds: float, text: str) -> None:
    assert _duration(seconds) == text
