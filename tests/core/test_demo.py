"""The bundled models are known by their fingerprints, wherever they lie and whatever they are called; how they were steered."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_models as tm
import torch

from ffnscope.core.demo import CHECKPOINTS, MODEL, DemoModel, checkpoint_stores, demo_request, is_demo
from ffnscope.core.demo.steering import ANY, BOS, Assignment, Settings, candidates, square_waves, words_among
from ffnscope.core.model.source import fingerprint, open_model
from ffnscope.store.records import ModelInfo

DEMO = ModelInfo(
    name=MODEL.title,
    architecture="opt",
    layers=6,
    neurons=768,
    width=128,
    vocabulary=4096,
    positions=512,
    activation="relu",
    gated=False,
    fingerprint=MODEL.fingerprint,
)


@pytest.mark.parametrize("model", CHECKPOINTS, ids=lambda model: model.checkpoint)
def test_the_fingerprints_are_those_of_the_bundled_models(model: DemoModel, tmp_path: Path) -> None:
    shutil.copytree(model.folder, tmp_path / "moved")
    assert fingerprint(open_model(str(tmp_path / "moved"))) == model.fingerprint, (
        "a new demo model: write its fingerprint there"
    )


def test_a_moved_demo_is_the_demo_and_a_folder_of_its_name_is_not(tmp_path: Path) -> None:
    folder = tm.tiny("opt", tmp_path).rename(tmp_path / "model")
    other = replace(DEMO, name="model", fingerprint=fingerprint(open_model(str(folder))))
    assert not is_demo(other)
    assert is_demo(replace(DEMO, name="model")) and is_demo(replace(other, name=MODEL.title))
    assert not is_demo(DEMO, CHECKPOINTS[:1])


def test_the_demo_says_what_it_is(tmp_path: Path) -> None:
    assert demo_request(tmp_path).title == MODEL.title


def test_checkpoints_lie_beside_the_demo_in_the_order_of_training(tmp_path: Path) -> None:
    names = [path.name for _, path in checkpoint_stores(tmp_path / "demo.ffn")]
    assert names == ["demo-early.ffn", "demo-middle.ffn", "demo.ffn"]


TOKENS = torch.tensor([[BOS, 7, 8, 7, 8, 9], [BOS, 8, 7, 8, 8, 9]])
NGRAMS = torch.tensor([[ANY, ANY, 8], [ANY, 7, 8], [7, 8, 9]])


def test_an_ngram_is_found_where_it_ends() -> None:
    steered = Assignment(torch.arange(3), NGRAMS, torch.ones(3), torch.zeros(0, 6))
    found = steered.occurrences(TOKENS).reshape(2, 6, 3).int()
    assert found[..., 0].tolist() == [[0, 0, 1, 0, 1, 0], [0, 1, 0, 1, 1, 0]]
    assert found[..., 1].tolist() == [[0, 0, 1, 0, 1, 0], [0, 0, 0, 1, 0, 0]]
    assert found[..., 2].tolist() == [[0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0]]


def test_the_hinge_is_nothing_where_a_neuron_keeps_its_margin_and_only_there() -> None:
    curve = torch.tensor([[1.0, 1, 0, 0, -1, -1]])
    steered = Assignment(torch.arange(4), NGRAMS, torch.ones(3), curve)
    found = steered.occurrences(TOKENS)
    sign = torch.cat([found * 2.0 - 1, curve.T.repeat(2, 1)], 1)
    assert steered.losses(0.5 * sign, found, 0.5).tolist() == [0, 0, 0, 0]
    assert (steered.losses(0.4 * sign, found, 0.5) > 0).all()


def test_a_square_wave_is_high_as_often_as_low() -> None:
    waves = square_waves(3, Settings())
    assert set(waves.unique().tolist()) == {-1, 0, 1} and (waves.mean(1).abs() < 0.05).all()


def test_candidates_end_in_words_and_do_not_follow_from_their_last_token() -> None:
    texts = ["", "", "", "", " the", " of", "ing", " read", ".", *[f"<{token}>" for token in range(9, 16)]]
    ids = np.array([*[5, 4, 7, 6, 8, 4, 8, 5, 8] * 50, *range(9, 16)])
    assert [texts[token] for token in np.flatnonzero(words_among(ids, texts))] == [" the", " of"]
    small = replace(Settings(), vocabulary=16, shares=(0.01, 0.01, 0.01), conditional=0.6)
    tokens, bigrams, _ = candidates(ids, texts, small)
    assert {ngram for ngram, _ in tokens} == {(ANY, ANY, 4), (ANY, ANY, 5)}
    assert (ANY, 5, 4) in {ngram for ngram, _ in bigrams} and (ANY, 4, 5) not in {ngram for ngram, _ in bigrams}
