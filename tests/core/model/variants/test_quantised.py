"""Quantised checkpoints: computed with as the matrices that they stand for, or refused before the corpus is read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny_models as tm
import torch
import transformers as hf
from exact import compare, run, sources_of
from safetensors.torch import load_file, save_file
from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING
from transformers.quantizers.base import HfQuantizer

from ffnscope.core.corpus.sources import DomainSource
from ffnscope.core.model.variants.quantised import _method, check_quantised, dequantised
from ffnscope.store.errors import UserError

ABSENT = (DomainSource("text", Path("there-is-no-such-file.txt")),)
WINDOWS = tm.random_windows(np.random.default_rng(0), 7, 16, tm.VOCAB, 0)


def quantised(folder: Path, settings: dict[str, Any]) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"quantization_config": settings}))


def check(folder: Path, dense: dict[str, torch.Tensor], model: Path) -> None:
    """The run of ``folder`` has every number of ``model`` with the ``dense`` matrices."""
    weights = model / "model.safetensors"
    save_file(load_file(weights) | dense, weights, metadata={"format": "pt"})
    store = folder.parent / "run.ffn"
    lines: list[Any] = []
    sources = sources_of(folder.parent, {"all": WINDOWS})
    compare(run(folder, sources, store, lines.append, bos_id=0, batch_size=7), model, WINDOWS)
    assert "turned back into matrices" in str(lines[0]), "before the corpus is read"


def test_a_checkpoint_in_fp8_is_that_of_its_matrices(tmp_path: Path) -> None:
    model = tm.tiny("llama", tmp_path)
    folder = shutil.copytree(model, tmp_path / "fp8")
    stored, dense = load_file(model / "model.safetensors"), {}
    for name, matrix in dict(stored).items():
        if "proj" in name:
            scale = matrix.abs().max() / 448
            stored[name], stored[f"{name}_scale_inv"] = (matrix / scale).to(torch.float8_e4m3fn), scale.reshape(1, 1)
            dense[name] = stored[name].float() * scale
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    quantised(folder, {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]})
    check(folder, dense, model)


@pytest.mark.parametrize("bits", [4, 8])
def test_a_checkpoint_of_bitsandbytes_is_that_of_its_matrices(bits: int, tmp_path: Path) -> None:
    functional = pytest.importorskip("bitsandbytes.functional")
    model = tm.tiny("llama", tmp_path)
    settings = hf.BitsAndBytesConfig(load_in_4bit=bits == 4, load_in_8bit=bits == 8, bnb_4bit_quant_type="nf4")
    options: dict[str, Any] = {"device_map": "cpu", "dtype": torch.float32}
    folder = tmp_path / "quantised"
    hf.AutoModelForCausalLM.from_pretrained(model, quantization_config=settings, **options).save_pretrained(folder)
    dense = {}
    for name, module in hf.AutoModelForCausalLM.from_pretrained(folder, **options).named_modules():
        if type(module).__name__ == "Linear4bit":
            dense[f"{name}.weight"] = functional.dequantize_4bit(module.weight.data, module.weight.quant_state).float()
        elif type(module).__name__ == "Linear8bitLt":
            scale = module.weight.SCB if module.weight.SCB is not None else module.state.SCB
            dense[f"{name}.weight"] = functional.int8_vectorwise_dequant(module.weight.data, scale.float())
    assert dense
    check(folder, dense, model)


@pytest.mark.parametrize("method", ["gptq", "awq"])
def test_packed_weights_are_refused_before_the_corpus(method: str, tmp_path: Path) -> None:
    model = tm.tiny("llama", tmp_path)
    quantised(model, {"quant_method": method, "bits": 4, "group_size": 128})
    with pytest.raises(UserError, match=f"quantised by {method}, .*give the checkpoint that is not quantised"):
        run(model, ABSENT, tmp_path / "run.ffn")


def test_a_missing_package_is_named_before_the_corpus(tmp_path: Path) -> None:
    try:
        import compressed_tensors  # noqa: F401
    except ImportError:
        model = tm.tiny("llama", tmp_path)
        quantised(model, {"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": {}})
        with pytest.raises(UserError, match=r"quantised by compressed-tensors; .*pip install"):
            run(model, ABSENT, tmp_path / "run.ffn")


class Own(HfQuantizer):
    """A method whose package may fail at turning its weights back into matrices."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def _dequantize(self, model: Any, dtype: torch.dtype | None = None) -> Any:
        if self.error is not None:
            raise self.error
        return "matrices", dtype

    is_serializable = is_trainable = True


class Plain(Own):
    """One whose weights are matrices when they are loaded."""

    _dequantize = HfQuantizer._dequantize  # type: ignore[assignment]


@pytest.mark.parametrize("quantizer", [None, Plain(), Own(), Own(ValueError("of two\nlines"))])
def test_weights_that_are_still_quantised_when_they_are_loaded(quantizer: Own | None) -> None:
    def dequantize(dtype: torch.dtype) -> Any:
        return quantizer._dequantize(None, dtype)

    model = SimpleNamespace(hf_quantizer=quantizer, dequantize=dequantize)
    if quantizer is None or isinstance(quantizer, Plain):
        assert dequantised(model, "m", torch.float32) is model
    elif quantizer.error is None:
        assert dequantised(model, "m", torch.float32) == ("matrices", torch.float32)
    else:
        with pytest.raises(
            UserError, match=r"^m: its quantised weights cannot .* \(of two lines\); give the checkpoint"
        ):
            dequantised(model, "m", torch.float32)


@pytest.mark.parametrize(
    ("settings", "method"),
    [
        ({"load_in_4bit": True}, "bitsandbytes_4bit"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes_8bit"),
        ({"quant_method": "fp8"}, "fp8"),
    ],
)
def test_methods_are_named_as_transformers_names_them(settings: dict[str, Any], method: str) -> None:
    assert _method(settings) == method and method in AUTO_QUANTIZATION_CONFIG_MAPPING


def test_a_method_that_nobody_knows_is_left_to_transformers() -> None:
    check_quantised("m", SimpleNamespace(quantization_config={"quant_method": "there-is-none"}))
