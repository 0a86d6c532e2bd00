"""What is being looked at: layer, filter, sort, cursor and marks, as a plain object that knows no terminal."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ffnscope.store.concepts.descriptions import formula_text
from ffnscope.store.definitions import KINDS, POSITION_STRENGTHS, POSITION_TYPES
from ffnscope.store.errors import UserError
from ffnscope.store.format.schema import ABSENT
from ffnscope.store.query import columns
from ffnscope.store.query.filter import parse_filter

if TYPE_CHECKING:
    from ffnscope.store import Store
    from ffnscope.store.notes import Notes
    from ffnscope.store.query.filter import Filter

Key = tuple[int, int]  # (layer, neuron)
_GOTO = re.compile(r"\s*L?(?P<layer>\d{1,9})(?:\s*[N/,: ]\s*(?P<neuron>\d{1,9}))?\s*", re.IGNORECASE)
_NEURON = re.compile(r"\s*N\s*(?P<neuron>\d{1,9})\s*", re.IGNORECASE)
MAX_STEPS = 200  # filters, sorts and marks that can be undone
# Columns are sorted from the largest value down, but for these.
ASCENDING = frozenset({"neuron", "layer", "kind", "unigrams_95", "bigrams_95", "trigrams_95", "trigger_projection"})


def name_of(key: Key) -> str:
    """`L2N412`."""
    return f"L{key[0]}N{key[1]}"


class NeuronList:
    """The list of one layer's neurons as filtered and sorted, and where the cursor is in it."""

    def __init__(self, store: Store, notes: Notes | None = None, write: Callable[..., None] | None = None):
        """`write(function, *arguments)` runs what writes to the notes; default: at once."""
        self.store = store
        self._write = write or (lambda function, *arguments: function(*arguments))
        self._notes = notes
        self.domains = columns.domain_names(store)
        self.layer = -1
        self.filter_text = ""
        self.filter: Filter | None = None
        self.sort = "kind"
        self.descending = False
        self.rows: np.ndarray = np.zeros(0, np.int64)  # [R] neurons in the order shown
        self.cursor = 0
        self.marks: set[Key] = set(notes.marks()) if notes else set()
        self.notes: dict[Key, str] = notes.notes() if notes else {}
        self._columns: dict[str, np.ndarray] = {}
        self.steps: deque[tuple[str, Callable[[], None]]] = deque(maxlen=MAX_STEPS)  # (what was done, what undoes it)

    # The layer

    @property
    def total(self) -> int:
        """F of the layer, 0 where none is open."""
        return self.store.neurons(self.layer) if self.layer >= 0 else 0

    def open_layer(self, layer: int) -> None:
        """Show another layer, its first row under the cursor. Raises UserError where it is not in the store, or damaged,
        and changes nothing then."""
        self.store.neurons(layer)
        with self._wholly():
            self.layer = layer
            self._columns = {}
            self.cursor = 0
            self._apply()
            self.cursor = 0

    @contextmanager
    def _wholly(self) -> Iterator[None]:
        """What is shown changes as a whole or not at all."""
        shown = ("layer", "_columns", "cursor", "rows", "filter", "filter_text", "sort", "descending")
        before = {name: getattr(self, name) for name in shown}
        try:
            yield
        except UserError:
            self.__dict__.update(before)
            raise

    def column(self, name: str) -> np.ndarray:
        """[F] a column of this layer, by its name in columns.py or schema.py, kept while the layer is shown."""
        if name not in self._columns:
            known = columns.find(name, self.domains)
            read = columns.values(self.store, self.layer, name) if known else self.store.column(self.layer, name)
            self._columns[name] = read
        return self._columns[name]

    # Rows

    def set_filter(self, text: str) -> None:
        """Show only what matches; "" shows all. Raises UserError for a bad filter and changes nothing then."""
        before = self.filter_text
        self._filter_by(text)
        if self.filter_text != before:
            self.steps.append(("the filter", partial(self._filter_by, before)))

    def _filter_by(self, text: str) -> None:
        text = text.strip()
        parsed = parse_filter(text, self.domains) if text else None
        with self._wholly():
            self.filter, self.filter_text = parsed, text
            self._apply()

    def set_sort(self, column: str, descending: bool | None = None) -> None:
        """Order by a column; the direction is the column's own where none is given. Raises UserError as ``open_layer``."""
        before = self.sort, self.descending
        self._sort_by(column, descending)
        if (self.sort, self.descending) != before:
            self.steps.append(("the sort", partial(self._sort_by, *before)))

    def _sort_by(self, column: str, descending: bool | None) -> None:
        with self._wholly():
            self.sort = columns.resolve(column, self.domains)
            self.descending = self.sort not in ASCENDING if descending is None else descending
            self._apply()

    def reverse(self) -> None:
        """The other direction."""
        self.set_sort(self.sort, not self.descending)

    def matches(self, text: str, layer: int | None = None) -> int:
        """How many neurons of a layer a filter text keeps, 0 where none is open. Raises UserError for a bad filter."""
        layer = self.layer if layer is None else layer
        parsed = parse_filter(text, self.domains)
        if layer < 0:
            return 0
        if not text.strip():
            return self.store.neurons(layer)
        return int(np.count_nonzero(self._mask(parsed, layer)))

    def _mask(self, parsed: Filter, layer: int) -> np.ndarray:
        if layer not in parsed.layers((layer,)):
            return np.zeros(self.store.neurons(layer), bool)
        return parsed.mask(self.store, layer, frozenset(self.marks), frozenset(self.notes))

    def _apply(self) -> None:
        if self.layer < 0:
            return
        current = self.neuron
        rows = np.arange(self.total) if self.filter is None else np.flatnonzero(self._mask(self.filter, self.layer))
        self.rows = rows[self._order(rows)]
        places = np.flatnonzero(self.rows == (-1 if current is None else current))
        self.cursor = int(places[0]) if len(places) else 0

    def _order(self, rows: np.ndarray) -> np.ndarray:
        values = self.column(self.sort)[rows]
        if self.sort == "kind":
            # Detectors first, what can be read off at a glance; the dead last.
            values = np.where(values == KINDS.index("dead"), len(KINDS), values)
        elif columns.words(self.sort):
            values = values.astype(np.int64)
        values = values.astype(np.float64)
        missing = np.isnan(values)
        keys = [rows, -self.column("activations")[rows].astype(np.float64)] if self.sort == "kind" else [rows]
        return np.lexsort((*keys, -values if self.descending else values, missing))

    # The cursor

    @property
    def neuron(self) -> int | None:
        """The neuron under the cursor."""
        return int(self.rows[self.cursor]) if 0 <= self.cursor < len(self.rows) else None

    @property
    def key(self) -> Key | None:
        """(layer, neuron) under the cursor."""
        return None if self.neuron is None else (self.layer, self.neuron)

    def move(self, rows: int) -> bool:
        """Move the cursor down (negative: up), stopping at the ends; whether it moved."""
        return self.move_to(self.cursor + rows)

    def move_to(self, row: int) -> bool:
        """Put the cursor on a row, the nearest there is; whether it moved."""
        row = max(0, min(row, len(self.rows) - 1))
        moved, self.cursor = row != self.cursor, row
        return moved

    def select(self, layer: int, neuron: int) -> bool:
        """Put the cursor on a neuron, leaving the filter where it hides it; whether the filter was left."""
        if not 0 <= neuron < self.store.neurons(layer):
            raise UserError(f"no neuron {neuron} in layer {layer}; it has 0 to {self.store.neurons(layer) - 1}")
        if layer != self.layer:
            self.open_layer(layer)
        left = False
        if not np.any(self.rows == neuron):
            self.set_filter("")
            left = True
        self.cursor = int(np.flatnonzero(self.rows == neuron)[0])
        return left

    def parse_goto(self, text: str) -> tuple[int, int | None]:
        """(layer, neuron or None) of `L5N123`, `5 123`, `L5`, `N123`. Raises UserError."""
        if match := _NEURON.fullmatch(text):
            if self.layer < 0:
                raise UserError("no layer is finished yet")
            return self.layer, int(match["neuron"])
        if match := _GOTO.fullmatch(text):
            return int(match["layer"]), int(match["neuron"]) if match["neuron"] else None
        raise UserError(f"{text[:40]!r} is not a neuron; write L5N123, L5 or N123")

    # Marks and notes

    def note(self, key: Key) -> str:
        """The note on a neuron, "" where there is none."""
        return self.notes.get(key, "")

    def set_note(self, key: Key, text: str) -> None:
        """Write or, with an empty text, delete the note on a neuron."""
        text = text.strip()
        if text:
            self.notes[key] = text
        else:
            self.notes.pop(key, None)
        if self._notes:
            self._write(self._notes.set_note, *key, text)

    def toggle_mark(self) -> bool:
        """Mark the neuron under the cursor or take its mark away; whether it is marked now."""
        key = self.key
        if key is None:
            return False
        on = key not in self.marks
        self.set_marks([key], on)
        return on

    def mark_all(self) -> tuple[int, bool]:
        """Mark every row shown, or take the marks away where all have one; (how many, whether marked)."""
        keys = [(self.layer, neuron) for neuron in self.rows.tolist()]
        on = not self.marks.issuperset(keys)
        self.set_marks(keys, on)
        return len(keys), on

    def set_marks(self, keys: list[Key], on: bool) -> None:
        """Mark neurons, or take their marks away."""
        changed = [key for key in keys if (key in self.marks) != on]
        self._mark(changed, on)
        if changed:
            what = f"the mark of {name_of(changed[0])}" if len(changed) == 1 else f"{len(changed):,} marks"
            self.steps.append((what, partial(self._mark, changed, not on)))

    def _mark(self, keys: list[Key], on: bool) -> None:
        if self._notes and keys:
            self._write(self._notes.set_marks, keys, on)
        (self.marks.update if on else self.marks.difference_update)(keys)

    def undo(self) -> str | None:
        """Undo the last filter, sort or mark; what that was, None where there is nothing to undo. Raises UserError where the
        layer cannot be read."""
        if not self.steps:
            return None
        what, undo = self.steps.pop()
        undo()
        return what

    def selection(self) -> tuple[np.ndarray, str]:
        """[N, 2] (layer, neuron) to export: the marked ones, else the rows shown; and what that is, in words. Marks
        outlive a store that is collected again: marks of neurons that it does not have are left out."""
        if self.marks:
            finished, model = set(self.store.layers()), self.store.run.model
            keys = sorted(key for key in self.marks if key[0] in finished and model.has_neuron(*key))
            return np.array(keys, np.int64).reshape(-1, 2), "marked"
        layers = np.full(len(self.rows), self.layer, np.int64)
        return np.column_stack([layers, self.rows.astype(np.int64)]), "listed"

    # What the table shows of a neuron

    def kind(self, neuron: int) -> str:
        """The neuron's kind."""
        return KINDS[int(self.column("kind")[neuron])]

    def detected(self, neuron: int) -> list[tuple[int, ...]]:
        """The detected n-grams of a neuron of this layer, most frequent first."""
        order = int(self.column("order")[neuron])
        if not order:
            return []
        first, last = np.searchsorted(self.column("detected_neuron"), [neuron, neuron + 1])
        tokens = self.column("detected_tokens")[first:last, :order]
        counts = self.column("detected_count")[first:last].astype(np.int64)
        by_count = np.argsort(-counts, kind="stable")
        return [tuple(int(t) for t in row if t != ABSENT) for row in tokens[by_count]]

    def description(self, neuron: int) -> tuple[str, float] | None:
        """The neuron's description by concepts and its f1 on the odd windows; None where it has none."""
        if not self.store.has("concept_formula"):
            return None
        formula = self.column("concept_formula")[neuron, 0].tolist()
        text = formula_text(formula, self.store.concepts)
        return (text, float(self.column("concept_figures")[neuron, 0, 2])) if text else None

    def mostly_at(self, neuron: int, limit: int = 8) -> list[int]:
        """The tokens a neuron is activated at most often."""
        return [token for token in self.column("top_unigrams")[neuron, :limit, 0].tolist() if token != ABSENT]

    def position_text(self, neuron: int) -> str:
        """`oscillatory strong` for a positional neuron, else ""."""
        word = POSITION_TYPES[int(self.column("position_type")[neuron])]
        return f"{word} {POSITION_STRENGTHS[int(self.column('position_strength')[neuron])]}" if word else ""
