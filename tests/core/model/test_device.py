"""The device is what was asked for, and what is in the way of it is said; half precision is not cut further."""

from __future__ import annotations

import pytest
import torch
from transformers.integrations import sdpa_attention

from ffnscope.core.model.device import choose_device
from ffnscope.core.model.numerics import use_full_precision
from ffnscope.store.errors import UserError, device_message


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (
            "CUDA out of memory. Tried to allocate 2.00 MiB",
            r"cuda:1: not available .* now: its memory is full \(CUDA out of",
        ),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling", "its memory is full"),
        (
            "CUDA error: all CUDA-capable devices are busy or unavailable\nCUDA kernel errors might be",
            r"another process has it to itself \(CUDA error: all CUDA-capable devices are busy or unavailable\)$",
        ),
        (
            "The NVIDIA driver on your system is too old (found version 11040).",
            r"\(The NVIDIA driver on your system is too old \(found version 11040\)\); use auto, cpu, cuda or mps",
        ),
    ],
)
def test_the_reason_is_said(raised: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(raised)

    monkeypatch.setattr(torch, "zeros", fail)
    with pytest.raises(UserError, match=said) as error:
        choose_device("cuda:1")
    assert "\n" not in str(error.value)


def test_products_in_half_precision_add_up_in_float32() -> None:
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = True
    use_full_precision()
    assert torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction is False
    assert torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction is False
    assert torch.get_float32_matmul_precision() == "highest"


def test_shared_keys_are_repeated_in_float32_on_a_gpu_only() -> None:
    use_full_precision()
    use_full_precision()

    class Keys:
        def __init__(self, device: str, dtype: torch.dtype) -> None:
            self.device, self.dtype, self.shape = torch.device(device), dtype, (1, 2, 8, 64)

    grouped = {
        (device, dtype): sdpa_attention.use_gqa_in_sdpa(None, Keys(device, dtype), Keys(device, dtype))
        for device in ("cpu", "cuda")
        for dtype in (torch.float32, torch.bfloat16)
    }
    assert grouped.pop(("cuda", torch.float32)) is False
    assert all(grouped.values())


def test_a_device_that_fails_is_not_called_full() -> None:
    message = device_message("the device", RuntimeError("CUDA error: unspecified launch failure\nCompile with"))
    assert "out of memory" not in message and "--resume" in message and "\n" not in message
