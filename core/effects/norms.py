"""A norm with its own scale held fixed: the affine map that LayerNorm, RMSNorm and their kin are at one position."""

from __future__ import annotations

import torch
from torch import nn

TOLERANCE = 1e-3  # of the largest output, by which the affine map may differ from the norm


def is_norm(module: nn.Module) -> bool:
    """Whether a module is by its name a norm without parts."""
    return "norm" in type(module).__name__.lower() and not any(True for _ in module.children())


class FixedScale:
    """What ``norm`` does to hidden states [..., d] around those that it is given: y = b + g (x - mean) / s, or without the
    mean. g and b are found from what the norm gives, not from how its weights are called; s is that of each position."""

    def __init__(self, norm: nn.Module, width: int, like: torch.Tensor):
        """``like``: a tensor of the dtype and device that the norm works in."""
        self._norm = norm
        signs = torch.ones(width, dtype=like.dtype, device=like.device)
        signs[1::2] = -1
        with torch.no_grad():
            self.bias = norm.forward(torch.zeros_like(signs))
            output = norm.forward(signs)
            self.centred = bool(torch.allclose(norm.forward(signs + 1), output, atol=1e-3, rtol=1e-3))
            self._gain = (output - self.bias) / self._middle(signs)

    def _middle(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden - hidden.mean(-1, keepdim=True) if self.centred else hidden

    def __call__(self, hidden: torch.Tensor, output: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
        """The norm's ``output`` for ``hidden``, differentiable with the scale held fixed, and the bias at every position as
        a leaf of the graph; None where the norm is not such a map."""
        scaled = self._middle(hidden) * self._gain
        bias = self.bias.detach().expand_as(output).clone().requires_grad_()
        with torch.no_grad():
            rest = output - bias
            # The factor is found from what the norm gave: its eps need not be known.
            factor = (scaled * rest).sum(-1, keepdim=True) / (scaled * scaled).sum(-1, keepdim=True).clamp_min(1e-30)
            error = (scaled * factor - rest).abs().amax()
            if not bool(error <= TOLERANCE * rest.abs().amax()):
                return None
        affine = scaled * factor + bias
        return output.detach() + (affine - affine.detach()), bias
