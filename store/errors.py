"""The exceptions whose message tells users what is wrong and what to do."""

from __future__ import annotations


class UserError(Exception):
    """A mistake in what was asked or given.

    The message is one line that names the input and the way out; the command line prints it and exits 2.
    """


class LostProcessError(UserError):
    """One of the processes of a run has ended while others wait for it: each of those that are left says so."""


# cuBLAS and cuDNN have their own words for a full device; cuBLAS fails to start where its workspace does not fit.
_DEVICE_FULL = (
    "out of memory",
    "cublas_status_alloc_failed",
    "cublas_status_not_initialized",
    "cudnn_status_alloc_failed",
    "cusparse_status_alloc_failed",
)
_DEVICE_ERROR = ("cuda error", "cublas_status", "cudnn_status", "cudnn error", "cuda driver error", "nccl error")


def is_device_full(error: BaseException) -> bool:
    """Whether a device, or a library on it, is out of memory."""
    text = str(error).lower()
    return any(sign in text for sign in _DEVICE_FULL)


def is_device_error(error: BaseException) -> bool:
    """Whether the device failed: full, lost, or a kernel on it went wrong; not what was asked of it."""
    text = str(error).lower()
    return is_device_full(error) or any(sign in text for sign in _DEVICE_ERROR)


def device_message(device: str, error: BaseException) -> str:
    """The message for a device that is out of memory or failed: ``device`` names it, ``error`` is what was raised."""
    reason = " ".join(str(error).split())[:120]
    if is_device_full(error):
        return (
            f"{device} is out of memory ({reason}); finished layers are kept: give a smaller --batch-size or --offload, "
            "and --resume"
        )
    return (
        f"{device} failed ({reason}); finished layers are kept: run the same command with --resume; if it fails again, "
        "`nvidia-smi` and the driver's log may say why"
    )


class DamagedStoreError(UserError):
    """A store does not hold what was written, or holds what no run writes; ``ffnscope verify`` lists what is wrong."""
