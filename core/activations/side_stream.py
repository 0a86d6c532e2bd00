"""Work on a GPU beside the model: copies to the host, or computing on weights of layers that have run, wait for nothing
that is queued for the model, and the model for neither."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch

from ffnscope.core import pinned_memory

FIRST = -1  # the priority of what goes before the model's work


class SideStream:
    """A CUDA stream of its own; on other devices, everything is done at once. ``urgent`` work goes before the model's."""

    def __init__(self, device: torch.device, urgent: bool = False):
        self._device = device
        self._stream = torch.cuda.Stream(device, priority=FIRST if urgent else 0) if device.type == "cuda" else None

    def use(self) -> AbstractContextManager[object]:
        """In this context the calling thread's operations go to the stream. They must not need what is queued elsewhere."""
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def to_host(self, tensors: Sequence[torch.Tensor]) -> Callable[[], list[torch.Tensor]]:
        """Begin to copy ``tensors``, which the calling thread's current stream makes, to the host's memory.

        The result waits for the copies, in any thread, and returns them.
        """
        if self._stream is None:
            copied = [tensor.cpu() for tensor in tensors]
            return lambda: copied
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            # Pinned memory that is let go serves the next batch: torch keeps it, and knows when no copy uses it any more.
            copies = [pinned_memory.empty(tensor.shape, tensor.dtype) for tensor in tensors]
            for copy, tensor in zip(copies, tensors, strict=True):
                copy.copy_(tensor, non_blocking=True)
                tensor.record_stream(self._stream)
            done = self._stream.record_event()

        def wait() -> list[torch.Tensor]:
            done.synchronize()
            return copies

        return wait
