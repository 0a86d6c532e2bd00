"""What the tests of the overview share: a store, also opened."""

from __future__ import annotations

import shutil

import pytest
from synthetic import make_store

from ffnscope.store.reader import Store


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    return make_store(
        tmp_path_factory.mktemp("overview") / "s.ffn", layers=5, neurons=160, seq_len=96, windows=60, hostile=True
    )


@pytest.fixture(scope="session")
def opened(store, tmp_path_factory):
    # A copy: an environment is opened once in a process, and the browser opens the other.
    with Store.open(shutil.copytree(store, tmp_path_factory.mktemp("copy") / "s.ffn")) as opened:
        yield opened
