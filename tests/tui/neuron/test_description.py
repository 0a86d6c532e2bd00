"""What the browser says of a neuron's description by concepts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

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
