"""How torch computes: in the full precision of the dtype, and with attention that does not fill a GPU."""

from __future__ import annotations

import torch
from transformers.integrations import sdpa_attention


def use_full_precision() -> None:
    """Let float32 products use all 32 bits, half precision add up in float32, and attention use a memory-saving kernel.

    Holds for the whole process, so for Hugging Face's own forward pass beside ours too.
    """
    # TORCH_ALLOW_TF32_CUBLAS_OVERRIDE would cut the mantissas of products to 10 bits.
    torch.set_float32_matmul_precision("highest")
    # Otherwise kernels that divide a sum may add the parts up in half precision.
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = False
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False
    _repeat_keys_in_float32()


def _repeat_keys_in_float32() -> None:
    """Where several heads share their keys (llama, qwen), float32 attention on CUDA has no kernel but the one that holds all
    T x T scores: gigabytes per batch. With the keys repeated for each head there is one that does not."""
    use_grouped = getattr(sdpa_attention, "use_gqa_in_sdpa", None)
    if use_grouped is None or getattr(use_grouped, "repeats_float32", False):
        return

    def use(mask: torch.Tensor | None, key: torch.Tensor, value: torch.Tensor) -> bool:
        if key.device.type == "cuda" and key.dtype == torch.float32:
            return False
        return bool(use_grouped(mask, key, value))

    use.repeats_float32 = True  # type: ignore[attr-defined]
    sdpa_attention.use_gqa_in_sdpa = use  # type: ignore[assignment]
