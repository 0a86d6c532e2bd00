"""The one exception that means: the user can mend this, and here is how."""

from __future__ import annotations


class UserError(Exception):
    """A mistake in what was asked or given.

    The message is one line that names the input and the way out; the command line prints it and exits 2.
    """


def device_full(device: str, error: BaseException) -> str:
    """What to say where a device has no memory left: ``device`` names it, ``error`` is what was raised."""
    why = " ".join(str(error).split())[:120]
    return (
        f"{device} is out of memory ({why}); what was finished is kept: give a smaller --batch-size or --offload, then "
        "--resume"
    )


class DamagedStoreError(UserError):
    """A store does not hold what was written, or holds what no run writes: ``ffnscope verify`` says more."""
