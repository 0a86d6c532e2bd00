"""What tests of the corpus share: Hugging Face's datasets, imported by the first test that asks for it."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def datasets() -> ModuleType:
    """The package. No process imports it that only collects these tests: that takes a while."""
    return importlib.import_module("datasets")
