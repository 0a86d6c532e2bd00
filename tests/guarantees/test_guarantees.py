"""Each promise of GUARANTEES.md names tests that exist; too little address space to collect in is one line."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_the_named_tests_exist() -> None:
    promises, _, _ = (ROOT / "tests" / "GUARANTEES.md").read_text("utf-8").partition("## What is not guaranteed")
    named = 0
    for line in promises.splitlines():
        file = ""
        for quoted in re.findall(r"`((?:test_\w+\.py)?(?:::test_\w+)?)`", line):
            if not quoted:
                continue
            before, _, test = quoted.partition("::")
            file = before or file
            text = "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob(file))
            assert text, file
            assert not test or f"def {test}(" in text, quoted
            named += 1
        assert file or not line.startswith("- "), f"a promise without a test: {line}"
    assert named > 70


@pytest.mark.parametrize("megabytes", [600, 1300])
def test_too_little_address_space_to_collect_in_is_a_line(megabytes: int, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "ffnscope.tui",
        "collect",
        "m",
        "--data",
        "a=a.npy",
        "--store",
        str(tmp_path / "s"),
    ]
    limit = (megabytes << 20, megabytes << 20)
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, limit),
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "ulimit -v" in done.stderr
