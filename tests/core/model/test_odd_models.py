"""Tokenizers, hub answers and models of unusual makes: read right, or one line that says why not."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import tiny_models as tm
import torch
import transformers as hf
from exact import DEMO_DOMAINS, run, sources_of
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError
from odd_tokenizers import SlowTokenizer
from tokenizers import Tokenizer, decoders, models
from transformers import DogeConfig, PreTrainedTokenizerFast

from ffnscope.core.corpus.cache import fingerprint_tokenizer
from ffnscope.core.corpus.sources import parse_source
from ffnscope.core.demo import demo_request
from ffnscope.core.model.device import choose_device, choose_dtype
from ffnscope.core.model.ffn import Ffn, find_ffns, is_mixture
from ffnscope.core.model.hub import fetch_weights, is_offline
from ffnscope.core.model.layer_gate import LayerGate
from ffnscope.core.model.layered import LayeredModel
from ffnscope.core.model.load import _take_computed_buffers, load_model
from ffnscope.core.model.source import open_model
from ffnscope.core.model.token_texts import build_vocabulary
from ffnscope.core.model.tokenizer import load_tokenizer, tokenizer_failures
from ffnscope.core.model.variants.text_part import text_base
from ffnscope.store.errors import UserError

CPU = torch.device("cpu")


# What tokens are written as


class OldTokenizer(SlowTokenizer):
    """One with holes in its ids and, as old byte-level ones have, a table of letters for bytes."""

    def convert_ids_to_tokens(self, token: int) -> str:
        if self.pieces[token] == "hole":
            raise IndexError(token)
        return self.pieces[token]


def test_slow_tokenizers_by_the_marks_in_their_pieces() -> None:
    slow = OldTokenizer(["<unk>", "hole", "end</w>", "##", "##ing", "  ", "plain"])
    vocabulary = build_vocabulary(slow, 7)
    assert vocabulary.texts == ("<unk>", "<1>", "end", "##", "ing", "  ", "plain")
    assert vocabulary.whole.tolist() == [True, False, True, True, True, True, True]


def test_slow_byte_level_tokenizers() -> None:
    slow = OldTokenizer(["<unk>", "Ġthe", "Ã", "Ã©", "漢"])
    letters = {"Ġ": 32, "Ã": 0xC3, "©": 0xA9} | {chr(code): code for code in range(33, 127)}
    slow.byte_decoder = letters  # type: ignore[attr-defined]
    vocabulary = build_vocabulary(slow, 5)
    assert vocabulary.texts == ("<unk>", " the", "Ã", "é", "漢")
    assert vocabulary.whole.tolist() == [True, True, False, True, True]


def fast(pieces: list[str], decoder: Any) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel({piece: token for token, piece in enumerate(pieces)}, unk_token=pieces[0]))
    tokenizer.decoder = decoder
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=pieces[0])


def test_decoders_that_replace_by_a_pattern() -> None:
    from tokenizers import Regex

    assert build_vocabulary(fast(["<unk>", "a__b"], decoders.Replace(Regex("_+"), " ")), 2).texts[1] == "a b"
    # A pattern of a dialect that Python lacks: the piece stays as it is.
    assert build_vocabulary(fast(["<unk>", "a__b"], decoders.Replace(Regex(r"\h"), " ")), 2).texts[1] == "a__b"
    assert build_vocabulary(fast(["<unk>", "a__b"], decoders.Replace("__", "-")), 2).texts[1] == "a-b"


def test_byte_level_pieces_in_other_letters_stand_for_themselves() -> None:
    vocabulary = build_vocabulary(fast(["<unk>", "Ġthe", "漢字", "Ã"], decoders.ByteLevel()), 4)
    assert vocabulary.texts == ("<unk>", " the", "漢字", "Ã")
    assert vocabulary.whole.tolist() == [True, True, True, False]


def test_slow_tokenizers_have_fingerprints() -> None:
    class Slow(SlowTokenizer):
        def get_vocab(self) -> dict[str, int]:
            return {piece: token for token, piece in enumerate(self.pieces)}

    one, same, other = (fingerprint_tokenizer(Slow(pieces)) for pieces in (["a", "b"], ["a", "b"], ["b", "a"]))
    assert one == same != other


def test_only_failures_of_the_tokenizer_are_turned_into_lines() -> None:
    class PanicException(BaseException):
        """What PyO3 raises for a panic."""

    for error in (PanicException("a\n b"), ValueError("a\n b"), Exception("a\n b")):
        with pytest.raises(UserError, match=r"^it fails \(a b\)"), tokenizer_failures("it fails"):
            raise error
    for passed in (KeyboardInterrupt, MemoryError, SystemExit):
        with pytest.raises(passed), tokenizer_failures("it fails"):
            raise passed


# The hub


def answering(monkeypatch: pytest.MonkeyPatch, answer: Exception | None) -> None:
    def model_info(*_: Any, **__: Any) -> None:
        if answer is not None:
            raise answer

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub, "is_offline_mode", lambda: False)


def response(code: int) -> Any:
    """What the hub's errors read of an answer, whichever library brought it."""
    return SimpleNamespace(status_code=code, headers={}, request=None)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (GatedRepoError("no", response=response(403)), "hf auth login"),
        (RepositoryNotFoundError("no", response=response(404)), "does not have it either"),
        (HfHubHTTPError("no", response=response(503)), "the hub answers 503"),
        (TimeoutError(), "out of reach (TimeoutError)"),
    ],
)
def test_what_the_hub_answers_is_said(answer: Exception, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, answer)
    with pytest.raises(UserError) as caught:
        is_offline("some-lab/no-such-model")
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_a_model_that_the_hub_has_is_fetched_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, None)
    assert is_offline("some-lab/some-model") is False

    def broken(*_: Any, **__: Any) -> str:
        raise OSError("Connection\nreset")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", broken)
    with pytest.raises(UserError, match=r"some-lab/some-model: .* cannot be downloaded \(Connection reset\)"):
        fetch_weights("some-lab/some-model", False)

    def lacking(*_: Any, **__: Any) -> str:
        raise huggingface_hub.errors.EntryNotFoundError("no")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lacking)
    for offline, where in ((True, "in the hub cache"), (False, "on the hub")):
        with pytest.raises(UserError, match=f"no weights {where}"):
            fetch_weights("some-lab/some-model", offline)


# Models


def loaded(family: str, tmp_path: Path, **options: Any) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tm.tiny(family, tmp_path, **options))


def test_a_model_that_shares_keys_between_layers_is_refused(tmp_path: Path) -> None:
    model = loaded("llama", tmp_path)
    model.config.num_kv_shared_layers = 1
    with pytest.raises(UserError, match="keys of earlier ones"):
        LayeredModel(model, "m", CPU)


def test_layers_of_different_sizes_keep_their_own(tmp_path: Path) -> None:
    model, other = loaded("opt", tmp_path), loaded("opt", tmp_path, ffn_dim=8)
    model.model.decoder.layers[1] = other.model.decoder.layers[1]
    layered = LayeredModel(model, "m", CPU)
    assert (layered.layer_neurons, layered.neurons) == ((24, 8, 24), 24)


def test_a_model_without_unembedding_is_refused(tmp_path: Path) -> None:
    layered = LayeredModel(loaded("llama", tmp_path), "m", CPU)
    layered.model.get_output_embeddings = lambda: None
    with pytest.raises(UserError, match="m: has no unembedding matrix"):
        layered.unembedding()


def test_an_unembedding_of_another_width_without_a_projection_is_refused(tmp_path: Path) -> None:
    layered = LayeredModel(loaded("llama", tmp_path), "m", CPU)
    layered.model.lm_head = torch.nn.Linear(7, tm.VOCAB, bias=False)
    with pytest.raises(UserError, match="no projection between them"):
        layered.output_projection()


def test_a_model_that_is_its_own_base_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"m: .* cannot be run without its unembedding"):
        LayeredModel(loaded("llama", tmp_path).model, "m", CPU)


def test_matrices_in_a_form_of_their_own_are_refused(tmp_path: Path) -> None:
    plain = tm.tiny("llama", tmp_path)
    config = json.loads((plain / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "bitnet",
        "linear_class": "autobitlinear",
        "quantization_mode": "online",
    }
    (plain / "config.json").write_text(json.dumps(config))
    sources = sources_of(tmp_path / "data", {"a": tm.random_windows(np.random.default_rng(6), 4, 16, tm.VOCAB)})
    with pytest.raises(UserError, match=r"stored in a form of their own \(AutoBitLinear\).*not quantised"):
        run(plain, sources, tmp_path / "run.ffn")


@pytest.mark.parametrize("how", ["scaled", "packed", "as stored", "not finite"])
def test_only_matrices_that_are_what_is_multiplied_pass(how: str, tmp_path: Path) -> None:
    source = open_model(str(tm.tiny("opt", tmp_path)))
    model = load_model(source, CPU, torch.float32)
    second = model.layer(1).get_submodule(model.ffns[1].second)
    if how == "scaled":
        second.register_forward_hook(lambda module, _, out: (out - module.bias) * 1.2 + module.bias)
    elif how == "packed":
        weight = second.weight.detach()
        second.forward = lambda values: values @ weight.T  # type: ignore[method-assign]
        second.weight = torch.nn.Parameter(weight.reshape(-1, 1).to(torch.uint8), requires_grad=False)
    elif how == "not finite":
        with torch.no_grad():
            second.weight[0, 0] = torch.nan
    if how in ("scaled", "packed"):
        with pytest.raises(UserError, match="not quantised"):
            model.prepare(torch.tensor([[2, 3]]))
    else:
        model.prepare(torch.tensor([[2, 3]]))


def test_a_dense_doge_is_no_mixture_of_experts() -> None:
    assert not is_mixture(DogeConfig()) and is_mixture(DogeConfig(is_moe=True))


def test_a_device_without_memory_is_no_device() -> None:
    with pytest.raises(UserError, match="not available"):
        choose_device("meta")


def test_names_of_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="MODEL is empty"):
        open_model("")
    folder = tm.tiny("opt", tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert open_model(f"~/{folder.name}").path == str(folder)
    with pytest.raises(UserError, match=r"model\.gguf: no such file"):
        open_model(str(tmp_path / "model.gguf"))
    with pytest.raises(UserError, match="no_such_user"):
        open_model("~no_such_user/x")


def test_sizes_that_cannot_be(tmp_path: Path) -> None:
    from transformers import AutoConfig

    folder = tm.tiny("opt", tmp_path)
    assert load_tokenizer(open_model(str(folder))) is None
    config = AutoConfig.from_pretrained(folder)
    config.vocab_size = 0
    config.save_pretrained(folder)
    with pytest.raises(UserError, match="no usable vocab_size"):
        open_model(str(folder))


def test_the_dtype_of_the_checkpoint_counts_on_a_gpu_only(tmp_path: Path) -> None:
    source = open_model(str(tm.tiny("opt", tmp_path, dtype="bfloat16")))
    assert choose_dtype("auto", source, CPU) == torch.float32
    assert choose_dtype("auto", source, torch.device("cuda")) == torch.bfloat16
    assert choose_dtype("float16", source, CPU) == torch.float16
    source.text_config.dtype = "float16"
    assert choose_dtype("auto", source, torch.device("cuda")) == torch.float16
    source.text_config.dtype = source.config.dtype = None
    assert choose_dtype("auto", source, torch.device("cuda")) == torch.float32
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        assert choose_device("auto") == CPU


def test_a_model_that_does_not_fit_the_device_says_how_it_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a bug of ours")

    source = open_model(str(tm.tiny("llama", tmp_path)))
    for place, name in ((torch.nn.Module, "to"), (hf.AutoModelForCausalLM, "from_pretrained")):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, full)
            with pytest.raises(UserError, match="does not fit on cpu; --offload"):
                load_model(source, CPU, torch.float32)
    monkeypatch.setattr(torch.nn.Module, "to", broken)
    with pytest.raises(RuntimeError, match="a bug of ours"):
        load_model(source, CPU, torch.float32)


def test_tables_that_a_device_computes_otherwise_are_the_hosts(tmp_path: Path) -> None:
    source = open_model(str(tm.tiny("llama", tmp_path)))
    model = load_model(source, CPU, torch.float32).model
    expected = {name: value.clone() for name, value in model.named_buffers()}
    for value in model.buffers():
        value += 1
    _take_computed_buffers(model, source, torch.float32)
    found = dict(model.named_buffers())
    assert found.keys() == expected.keys() and expected
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_what_stands_in_for_a_layer_has_its_attributes() -> None:
    layer = torch.nn.Linear(2, 3)
    layer.attention_type = "sliding_attention"  # type: ignore[assignment]
    gate = LayerGate(layer, lambda hidden, call: None, 0)
    assert gate.attention_type == "sliding_attention" and gate.out_features == 3 and not list(gate.parameters())
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = gate.nothing


def test_the_demo_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    request = demo_request(tmp_path / "demo.ffn")
    assert not request.resume and tuple(source.name for source in request.sources) == DEMO_DOMAINS
    assert all(source.path.is_file() for source in request.sources) and (Path(request.model) / "config.json").is_file()
    (tmp_path / "demo.ffn").mkdir()
    (tmp_path / "demo.ffn" / "data.mdb").touch()
    assert demo_request(tmp_path / "demo.ffn").resume


def test_a_home_folder_that_nobody_has() -> None:
    with pytest.raises(UserError, match="no_such_user"):
        parse_source("a=~no_such_user_at_all/x")


def test_activations_that_are_not_finite_end_the_run(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    model = tm.tiny("opt", tmp_path)
    weights = load_file(model / "model.safetensors")
    name = next(key for key in weights if key.endswith("layers.1.fc1.bias"))
    weights[name][3] = float("inf")
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    windows = sources_of(tmp_path, {"all": tm.random_windows(np.random.default_rng(0), 5, 8, tm.VOCAB, 0)})
    with pytest.raises(UserError, match=r"layer 1: activations of 1 of its neurons are not finite in float32"):
        run(model, windows, tmp_path / "run.ffn", bos_id=0)


def test_a_scratch_folder_that_is_a_file(tmp_path: Path) -> None:
    model = tm.tiny("opt", tmp_path)
    windows = sources_of(tmp_path, {"all": tm.random_windows(np.random.default_rng(0), 5, 8, tm.VOCAB, 0)})
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"cannot be made .*--scratch"):
        run(model, windows, tmp_path / "run.ffn", bos_id=0, scratch=tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_an_activation_function_with_trained_numbers_is_one() -> None:
    config = hf.ApertusConfig(
        vocab_size=tm.VOCAB, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=24,
    )  # fmt: skip
    ffns = LayeredModel(hf.ApertusForCausalLM(config), "m", CPU).ffns
    assert [(ffn.activation, ffn.second, ffn.neurons) for ffn in ffns] == [("mlp.act_fn", "mlp.down_proj", 24)] * 2


def test_an_activation_function_beside_other_projections_is_no_ffn() -> None:
    layer = torch.nn.Module()
    layer.mixer = torch.nn.Module()
    layer.mixer.act, layer.mixer.into = torch.nn.SiLU(), torch.nn.Linear(16, 7)
    layer.mixer.out = torch.nn.Linear(24, 16)
    assert find_ffns(layer, 16) == ([], ["mixer (act, into, out)"])
    layer.mixer.into = torch.nn.Linear(16, 48)
    assert find_ffns(layer, 16)[0] == [Ffn("mixer.act", "mixer.out", 24, True)]


def test_a_device_that_fails_while_a_model_is_tried_is_not_taken_for_the_models_fault(tmp_path: Path) -> None:
    layered = LayeredModel(loaded("llama", tmp_path), "m", CPU)

    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    layered.layer(0).register_forward_pre_hook(full)
    with pytest.raises(torch.OutOfMemoryError):
        layered.prepare(torch.tensor([[2, 3]]))


def test_a_language_model_that_is_not_inside_its_wrapper_is_refused() -> None:
    class Odd(torch.nn.Module):
        config = hf.LlavaConfig(text_config=hf.LlamaConfig(num_hidden_layers=1))

    with pytest.raises(UserError, match="m: its language model was not found inside Odd"):
        text_base(Odd(), "m")
