"""The exceptions whose message tells users what is wrong and what to do."""

from __future__ import annotations


class UserError(Exception):
    """A mistake in what was asked or given.

    The message is one line that names the input and the way out; the command line prints it and exits 2.
    """


class LostProcessError(UserError):
    """One of the processes of a run has ended while others wait for it: each of those that are left says so."""


def device_full(device: str, error: BaseException) -> str:
    """The message for a device that is out of memory: ``device`` names it, ``error`` is what was raised."""
    reason = " ".join(str(error).split())[:120]
    return (
        f"{device} is out of memory ({reason}); finished layers are kept: give a smaller --batch-size or --offload, and "
        "--resume"
    )


class DamagedStoreError(UserError):
    """A store does not hold what was written, or holds what no run writes; ``ffnscope verify`` lists what is wrong."""
