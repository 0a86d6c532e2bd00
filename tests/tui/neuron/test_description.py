"""What the browser says of a neuron: its description by concepts, its threshold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from synthetic import make_store

from ffnscope.store.records import Description
from ffnscope.tui.drawing.glyphs import UNICODE
from ffnscope.tui.neuron.sentences import page_sentences
from ffnscope.tui.state.session import Session


def test_the_page_gives_the_formula_its_figures_and_the_runner_up(tmp_path: Path) -> None:
    session = Session(make_store(tmp_path / "s.ffn", layers=1, neurons=48), UNICODE)
    try:
        session.start()
        neuron = next(n for n in range(48) if session.store.neuron(0, n).activations)
        page = session.page((0, neuron), contexts=False)
        best, second = Description((0, 1, -2, 0), 0.5, 0.25, 1 / 3), Description((1, 2, 3, 0), 0.25, 0.25, 0.25)
        concepts = ("digit", "in_number", "domain:a b")
        described = replace(page, neuron=replace(page.neuron, descriptions=(best, second)), concepts=concepts)
        lines = ["".join(text for text, _ in parts) for parts in page_sentences(described)]
        assert (
            'described by digit -in_number · f1 .333 (precision .500 · recall .250) · then in_number|domain:"a b" .250'
            in lines
        )
        assert not any("described" in "".join(text for text, _ in parts) for parts in page_sentences(page))
    finally:
        session.close()


@pytest.mark.parametrize(
    ("threshold", "expert", "line"),
    [
        (0.25, 3, "activated from |a| = 0.25 on · 50% of them above 0"),
        (0.0, 3, "its threshold is 0: it counts as activated wherever its expert is chosen · 50% of them above 0"),
        (0.0, None, "its threshold is 0: it counts as activated everywhere · 50% of them above 0"),
    ],
)
def test_the_page_says_from_which_value_on_a_neuron_is_activated(
    threshold: float, expert: int | None, line: str, tmp_path: Path
) -> None:
    session = Session(make_store(tmp_path / "s.ffn", layers=1, neurons=48), UNICODE)
    try:
        session.start()
        page = session.page((0, next(n for n in range(48) if session.store.neuron(0, n).activations)), contexts=False)
        neuron = replace(page.neuron, threshold=threshold, positive_share=0.5, expert=expert)
        lines = ["".join(text for text, _ in parts) for parts in page_sentences(replace(page, neuron=neuron))]
        assert line in lines
    finally:
        session.close()
