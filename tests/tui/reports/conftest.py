"""What the tests of reports share: a store with hostile tokens."""

from __future__ import annotations

import pytest
from synthetic import make_store


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("report") / "s.ffn", layers=4, neurons=150, windows=110, hostile=True)
