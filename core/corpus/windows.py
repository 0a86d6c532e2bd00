"""The corpus as windows: named domains, documents cut into pieces of equal length, ids checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ffnscope.core.corpus.labels import JoinedLabels
from ffnscope.core.corpus.text import ReadNotes
from ffnscope.store.errors import UserError

_FLUSH_TOKENS = 1 << 16


@dataclass(frozen=True)
class Domain:
    """Windows first_window .. first_window + windows - 1 of a corpus.

    dropped_tokens: what was left over at the end, less than a window; 0 where `max_tokens` ended the reading before.
    documents: those that windows were cut from; 0 for windows that were already tokens.
    fingerprint: sha256, hex, of shape and ids.
    notes: what was skipped or replaced while reading.
    """

    name: str
    first_window: int
    windows: int
    dropped_tokens: int
    documents: int
    count_only: bool
    fingerprint: str
    notes: ReadNotes = field(default_factory=ReadNotes, compare=False)


@dataclass(frozen=True)
class Corpus:
    """tokens `[S, T]` int32, C-contiguous, ids in 0 .. vocabulary_size - 1; the domains lie in order, without gaps."""

    tokens: np.ndarray
    domains: tuple[Domain, ...]
    bos_id: int | None
    vocabulary_size: int
    labels: dict[str, np.ndarray] = field(
        default_factory=dict
    )  # positions window * T + p, ascending, of labelled spans

    @property
    def seq_len(self) -> int:
        """T, positions of a window."""
        return self.tokens.shape[1]

    @property
    def n_windows(self) -> int:
        """S, windows of all domains."""
        return self.tokens.shape[0]

    @cached_property
    def fingerprint(self) -> str:
        """sha256, hex, of the domains (name, windows, count_only), their ids and the BOS id."""
        domains = [[domain.name, domain.count_only, domain.fingerprint] for domain in self.domains]
        return hashlib.sha256(json.dumps([domains, self.bos_id]).encode()).hexdigest()


class WindowCutter:
    """Joins documents and cuts windows as they come (core/DEFINITIONS.md, "Data"), with ids as int32.

    With a BOS id: BOS between documents, pieces of T-1 tokens, each prefixed with BOS. Without: pieces of T tokens.
    A document without tokens is skipped. Raises UserError where T or max_tokens leave no room for a token.
    """

    def __init__(self, seq_len: int, bos_id: int | None, max_tokens: int | None):
        shortest = 1 if bos_id is None else 2
        if seq_len < shortest:
            raise UserError(f"--seq-len {seq_len}: a window needs at least {shortest} positions")
        if max_tokens is not None and max_tokens < seq_len:
            raise UserError(f"--max-tokens {max_tokens}: less than a window of {seq_len}; raise it or lower --seq-len")
        self.documents = 0
        self._seq_len, self._bos_id = seq_len, bos_id
        self._piece = seq_len if bos_id is None else seq_len - 1
        self._most = None if max_tokens is None else max_tokens // seq_len
        self._blocks: list[np.ndarray] = []
        self._cut = 0
        self._pending: list[np.ndarray] = []
        self._waiting = 0
        self._open = False
        self._labels = JoinedLabels()

    @property
    def n_windows(self) -> int:
        """Windows that are complete by now."""
        complete = self._cut + self._waiting // self._piece
        return complete if self._most is None else min(complete, self._most)

    @property
    def full(self) -> bool:
        """Whether max_tokens is reached: nothing more is needed."""
        return self._most is not None and self.n_windows == self._most

    @property
    def joined_tokens(self) -> int:
        """Length so far of the joined documents, before pieces are prefixed."""
        return self._cut * self._piece + self._waiting

    def add(self, ids: np.ndarray, last: bool = True, labels: Iterable[tuple[str, np.ndarray]] = ()) -> None:
        """Appends a document's ids `[n]`, or its next ids where `last` is False; `labels`: which of them stand in labelled
        spans."""
        if len(ids):
            if not self._open:
                if self.documents and self._bos_id is not None:
                    self._append(np.array([self._bos_id], np.int32))
                self.documents += 1
            self._labels.add(self.joined_tokens, labels)
            self._append(ids.astype(np.int32))
            self._open = True
        if last:
            self._open = False
        if self._waiting >= max(_FLUSH_TOKENS, self._piece):
            self._flush()

    def finish(self) -> tuple[np.ndarray, int]:
        """(windows `[S, T]` int32, tokens left over and dropped; 0 where max_tokens ended it)."""
        self._flush()
        windows = np.concatenate([np.empty((0, self._seq_len), np.int32), *self._blocks])
        return windows[: self._most], 0 if self.full else self._waiting

    def labels(self, windows: int) -> dict[str, np.ndarray]:
        """By label: positions window * T + p `[n]` int64 of the first `windows` windows that stand in its spans."""
        return self._labels.in_windows(windows, self._seq_len, self._piece)

    def _append(self, ids: np.ndarray) -> None:
        self._pending.append(ids)
        self._waiting += len(ids)

    def _flush(self) -> None:
        count = self._waiting // self._piece
        if not count:
            return
        joined = np.concatenate(self._pending)
        block = np.empty((count, self._seq_len), np.int32)
        if self._bos_id is not None:
            block[:, 0] = self._bos_id
        block[:, self._seq_len - self._piece :] = joined[: count * self._piece].reshape(count, self._piece)
        self._blocks.append(block)
        self._cut += count
        self._pending = [joined[count * self._piece :].copy()]
        self._waiting = len(self._pending[0])


@dataclass(frozen=True)
class CutText:
    """A text domain as windows `[S, T]` int32, with what happened on the way."""

    windows: np.ndarray
    dropped_tokens: int
    documents: int
    notes: ReadNotes
    labels: dict[str, np.ndarray] = field(
        default_factory=dict
    )  # positions window * T + p, ascending, of labelled spans


def fingerprint_labelled(windows: np.ndarray, labels: dict[str, np.ndarray]) -> str:
    """``fingerprint_windows``, and where there are labels those too."""
    fingerprint = fingerprint_windows(windows)
    if not labels:
        return fingerprint
    listed = json.dumps([fingerprint, {label: places.tolist() for label, places in labels.items()}], sort_keys=True)
    return hashlib.sha256(listed.encode()).hexdigest()


def fingerprint_windows(windows: np.ndarray) -> str:
    """sha256, hex, of the shape and the ids as little-endian int32; the same for every memory layout and int width."""
    digest = hashlib.sha256(f"{windows.shape[0]}x{windows.shape[1]}:".encode())
    rows = max(1, (1 << 22) // max(1, windows.shape[1]))
    for start in range(0, len(windows), rows):
        digest.update(np.ascontiguousarray(windows[start : start + rows], dtype="<i4").data)
    return digest.hexdigest()
