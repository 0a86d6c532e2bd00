"""What the table's cells, the head line and the page's sentences say: no digit is cut, no share without what it is of."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from synthetic import make_store

from ffnscope.store.records import Progress
from ffnscope.tui.browser.neuron_table import _real, _signed, _whole, number_columns, sort_choices
from ffnscope.tui.browser.panes import progress_text
from ffnscope.tui.drawing.glyphs import UNICODE
from ffnscope.tui.neuron.sentences import page_sentences
from ffnscope.tui.state.session import Session

UNITS = {"k": 3, "M": 6, "G": 9, "T": 12, "P": 15}


@pytest.mark.parametrize(
    ("cells", "value", "text"),
    [
        (7, 0, "0"),
        (7, 999_999, "999,999"),
        (7, 1_234_567, "1.23M"),
        (7, 12_345_678, "12.3M"),
        (7, 2**32 - 1, "4.29G"),
        (6, 99_999, "99,999"),
        (6, 123_456, "123456"),
        (5, 12_345, "12345"),
        (5, 123_456, "123k"),
        (4, 999, "999"),
        (4, 1234, "1234"),
        (4, 12_345, "12k"),
        (4, 1_234_567, "1.2M"),
        (4, 999_950, "1M"),
    ],
)
def test_whole_numbers_in_cells(cells: int, value: int, text: str) -> None:
    assert _whole(cells)(float(value)) == text


@pytest.mark.parametrize(
    ("cells", "value", "text"),
    [
        (6, 0.0, "0"),
        (6, 1.0, "1"),
        (6, 12.345, "12.3"),
        (6, 999.9, "1000"),
        (6, 1234.5, "1234"),
        (6, 123_456.0, "123456"),
        (6, 1_234_567.0, "1.23e6"),
        (6, 0.0123, "0.0123"),
        (6, 0.000123, "1.2e-4"),
        (6, 1.23e-05, "1.2e-5"),
        (6, 1e-05, "1e-5"),
        (6, -0.0123, "-0.012"),
        (6, 3.4e38, "3.4e38"),
        (6, float("inf"), "inf"),
        (5, -1234.5, "-1234"),
        (5, -12_345.0, "-1e4"),
    ],
)
def test_real_numbers_in_cells(cells: int, value: float, text: str) -> None:
    assert _real(cells)(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.11, "  .11"), (-0.14, " -.14"), (12.345, "12.35"), (-12.345, "-12.3"), (-123.45, "-123"), (-1234.5, "-1234")],
)
def test_projections_in_cells(value: float, text: str) -> None:
    assert _signed(value) == text


def drawn() -> list[float]:
    """Numbers of every size, and those next to where another way of writing begins."""
    sizes = np.concatenate(
        [10.0 ** np.arange(-40, 39), *(10.0 ** np.arange(-40, 38) * x for x in (1.2345, 9.995, 9.9949))]
    )
    return [0.0, *np.random.default_rng(0).permutation(sizes).tolist()]


def read_back(text: str) -> tuple[Decimal, Decimal]:
    """What a reader takes a cell for, and half of its last place."""
    plain = text.strip().replace(",", "")
    power = UNITS.get(plain[-1], 0)
    read = Decimal(plain.rstrip("".join(UNITS))).scaleb(power)
    return read, Decimal((0, (5,), int(Decimal(plain.rstrip("".join(UNITS))).as_tuple().exponent) + power - 1))


@pytest.mark.parametrize("cells", [5, 6, 7])
@pytest.mark.parametrize("sign", [1, -1])
def test_any_real_number_fits_and_reads_back(cells: int, sign: int) -> None:
    for value in drawn():
        text = _real(cells)(sign * value)
        # In 5 cells there is no room for the sign and a three-character exponent: nothing as small is written so.
        if cells == 5 and sign < 0 and value < 1e-9:
            continue
        read, half = read_back(text)
        assert len(text) <= cells, (value, text)
        assert abs(read - Decimal(sign * value)) <= half * Decimal("1.0000001"), (value, text)


@pytest.mark.parametrize("cells", [4, 5, 6, 7])
def test_any_whole_number_fits_and_reads_back(cells: int) -> None:
    for value in {int(value * near) for value in drawn() if value < 1e15 for near in (0.999, 1, 1.001)}:
        text = _whole(cells)(float(value))
        read, half = read_back(text)
        assert len(text) <= cells, (value, text)
        assert abs(read - value) <= half, (value, text)


def test_the_tables_numbers_fit_their_columns() -> None:
    for column in number_columns(("wiki",)):
        for value in (0.0, 0.5, 7.0, 12345.0, 123456.0, 1234567.0, 98765432.0):
            assert len(column.cell(value)) <= column.width, (column.name, value)


def test_every_domain_can_be_chosen_and_ten_have_a_key_of_their_own() -> None:
    domains = tuple(f"domain{i}" for i in range(13))
    pressed = [key for key, _, _ in sort_choices(domains) if key]
    assert len(set(pressed)) == len(pressed) and set("1234567890") <= set(pressed)
    assert [key for key, name, _ in sort_choices(domains) if "domain" in name] == [*"1234567890", "", "", ""]


@pytest.mark.parametrize(("share", "said"), [(0.0, "0%"), (0.001, "<1%"), (0.43, "43%"), (0.999, ">99%")])
def test_progress_reads_neither_begun_nor_done_where_it_is_not(share: float, said: str) -> None:
    progress = Progress("collecting", "statistics", 1, 2, share, 0.0, None, 100.0)
    assert progress_text(progress, UNICODE, now=100.0) == f"collecting {said}"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 2 x 60 neurons."""
    return make_store(tmp_path_factory.mktemp("cells") / "run.ffn", layers=2, neurons=60)


@pytest.mark.parametrize(("kind", "order"), [("token", 1), ("bigram", 2), ("other", 1)])
def test_shares_say_what_they_are_of(path: Path, kind: str, order: int) -> None:
    session = Session(path, UNICODE)
    of_kind = next(n for n in range(60) if session.store.neuron(0, n).kind == kind)
    page = session.page((0, of_kind))

    def said(whole: int, activations: int) -> str:
        ngrams = [0, 0, 0]
        ngrams[order - 1] = whole
        neuron = replace(page.neuron, activations=activations, ngram_activations=tuple(ngrams))
        return "\n".join("".join(text for text, _ in parts) for parts in page_sentences(replace(page, neuron=neuron)))

    assert "% of 1,234 activations" in said(1234, 1300) and "of its activations" not in said(1234, 1300)
    assert "% of its activations" in said(1300, 1300)
    session.close()


def test_a_run_that_ends_while_it_is_opened_is_looked_at_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ffnscope.store.reader import Store

    landed: list[bool] = []
    every, there = Store.progress, Store.layers

    def progress(store: Store) -> Progress:
        read = every(store)
        return read if landed else replace(read, state="collecting")

    def layers(store: Store) -> tuple[int, ...]:
        read = there(store)
        return read if landed else read[:1]

    def first(real):  # whichever is read first sees a run that is still collecting, the other one its end
        def reading(store: Store):
            read = real(store)
            landed.append(True)
            return read

        return reading

    monkeypatch.setattr(Store, "progress", first(progress))
    monkeypatch.setattr(Store, "layers", first(layers))
    session = Session(path, UNICODE)
    assert session.progress.state == "collecting" or session.layers == (0, 1)
    session.close()
