"""Compiling where nothing can be kept on the disk."""

from __future__ import annotations

from ffnscope.core.jit import compiled


def test_a_function_that_cannot_be_kept_is_compiled_all_the_same() -> None:
    there: dict[str, object] = {}
    exec(compile("def double(x):\n    return 2 * x", "/no/such/folder/double.py", "exec"), there)
    assert compiled(there["double"])(21) == 42  # type: ignore[arg-type]
