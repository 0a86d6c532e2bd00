"""Compiled code: cached on disk where that is possible, and never stale."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ffnscope.core.jit import compiled


def test_a_function_that_cannot_be_kept_is_compiled_all_the_same() -> None:
    there: dict[str, object] = {}
    exec(compile("def double(x):\n    return 2 * x", "/no/such/folder/double.py", "exec"), there)
    assert compiled(there["double"])(21) == 42  # type: ignore[arg-type]


def test_cached_code_is_renewed_with_whatever_it_uses(tmp_path: Path) -> None:
    package = tmp_path / "loops"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "constants.py").write_text("FACTOR = 2\n")
    (package / "inner.py").write_text(
        "from ffnscope.core.jit import compiled\nfrom loops.constants import FACTOR\n\n"
        "@compiled\ndef scaled(x):\n    return FACTOR * x\n"
    )
    (package / "outer.py").write_text(
        "from ffnscope.core.jit import compiled\nfrom loops import inner\nscaled = inner.scaled\n\n"
        "@compiled\ndef twice(x):\n    return scaled(x) + scaled(x)\n"
    )
    code = "from loops.outer import twice\nprint(twice(5), sum(twice.stats.cache_hits.values()))"

    def run() -> str:
        environment = os.environ | {"PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert [run(), run()] == ["20 0", "20 1"], "compiled once, then read from the cache"
    (package / "constants.py").write_text("FACTOR = 3\n")
    assert run() == "30 0", "two files away"
    inner = (package / "inner.py").read_text()
    (package / "inner.py").write_text(inner.replace("FACTOR * x", "FACTOR + x"))
    assert [run(), run()] == ["16 0", "16 1"]
