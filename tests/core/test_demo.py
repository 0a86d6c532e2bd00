"""The bundled model is known by its fingerprint, wherever it lies and whatever it is called."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import tiny_models as tm

from ffnscope.core.demo import FINGERPRINT, FOLDER, TITLE, demo_request, is_demo
from ffnscope.core.model.source import fingerprint, open_model
from ffnscope.store.records import ModelInfo

DEMO = ModelInfo(
    name=TITLE,
    architecture="opt",
    layers=6,
    neurons=768,
    width=192,
    vocabulary=8192,
    positions=512,
    activation="relu",
    gated=False,
    fingerprint=FINGERPRINT,
)


def test_the_fingerprint_is_that_of_the_bundled_model(tmp_path: Path) -> None:
    shutil.copytree(FOLDER / "model", tmp_path / "moved")
    assert fingerprint(open_model(str(tmp_path / "moved"))) == FINGERPRINT, (
        "a new demo model: write its fingerprint there"
    )


def test_a_moved_demo_is_the_demo_and_a_folder_of_its_name_is_not(tmp_path: Path) -> None:
    folder = tm.tiny("opt", tmp_path).rename(tmp_path / "model")
    other = replace(DEMO, name="model", fingerprint=fingerprint(open_model(str(folder))))
    assert not is_demo(other)
    assert is_demo(replace(DEMO, name="model")) and is_demo(replace(other, name=TITLE))


def test_the_demo_says_what_it_is(tmp_path: Path) -> None:
    assert demo_request(tmp_path).title == TITLE
