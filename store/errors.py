"""The one exception that means: the user can mend this, and here is how."""

from __future__ import annotations


class UserError(Exception):
    """A mistake in what was asked or given.

    The message is one line that names the input and the way out; the command line prints it and exits 2.
    """


class DamagedStoreError(UserError):
    """A store does not hold what was written, or holds what no run writes: ``ffnscope verify`` says more."""
