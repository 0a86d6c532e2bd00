"""The corpus as windows: named domains, documents cut into pieces of equal length, ids checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ffnscope.core.corpus import is_windows_file, iter_parts, load_windows_npy, open_windows_npy
from ffnscope.core.corpus_cache import CutText, cache_key, fingerprint_windows, load_cut_text, save_cut_text
from ffnscope.core.corpus_text import ReadNotes
from ffnscope.core.corpus_tokens import encode_parts
from ffnscope.store.errors import UserError

DEFAULT_SEQ_LEN = 2048  # the paper's
_NOT_IN_NAMES = frozenset(":|\"'`,<>")  # each means something in filters, column names or lists of columns
_FLUSH_TOKENS = 1 << 16

Progress = Callable[[str, int, int | None], None]
"""Called with (domain, positions in windows so far, positions at most or None)."""


@dataclass(frozen=True)
class DomainSource:
    """Where a domain comes from. `count_only`: it counts towards activations, frequencies and dead neurons only."""

    name: str
    path: Path
    count_only: bool = False


@dataclass(frozen=True)
class Domain:
    """Windows first_window .. first_window + windows - 1 of a corpus.

    dropped_tokens: what was left over at the end, less than a window; 0 where `max_tokens` ended the reading before.
    documents: those that windows were cut from; 0 for windows that were already tokens.
    fingerprint: sha256, hex, of shape and ids.
    notes: what reading passed over or replaced, as far as it read.
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

    @property
    def seq_len(self) -> int:
        """T, positions of a window."""
        return self.tokens.shape[1]

    @property
    def n_windows(self) -> int:
        """S, windows of all domains."""
        return self.tokens.shape[0]

    @property
    def n_tokens(self) -> int:
        """S*T, positions of all domains."""
        return self.tokens.size

    @property
    def window_domain(self) -> np.ndarray:
        """The index in `domains` of every window's domain, `[S]` int64."""
        return np.repeat(np.arange(len(self.domains)), [domain.windows for domain in self.domains])

    @cached_property
    def fingerprint(self) -> str:
        """sha256, hex, of the domains (name, windows, count_only), their ids and the BOS id."""
        domains = [[domain.name, domain.count_only, domain.fingerprint] for domain in self.domains]
        return hashlib.sha256(json.dumps([domains, self.bos_id]).encode()).hexdigest()


def parse_source(text: str, count_only: bool = False) -> DomainSource:
    """`NAME=PATH` as a source; `~` in PATH is the home folder. Raises UserError for a bad name or an empty path."""
    option = "--count-only" if count_only else "--data"
    name, equals, path = text.partition("=")
    if not equals or not name or not path:
        raise UserError(f"{option} {text!r}: write NAME=PATH, e.g. {option} wiki=wiki.jsonl")
    if not name.isprintable() or any(char.isspace() or char in _NOT_IN_NAMES for char in name):
        raise UserError(f"{option} {text!r}: the name {name!r} must be one word without : | , < > or quotes")
    try:
        return DomainSource(name, Path(path).expanduser(), count_only)
    except RuntimeError as error:
        raise UserError(f"{option} {text!r}: {error}") from error


def parse_sources(data: Sequence[str], count_only: Sequence[str] = ()) -> tuple[DomainSource, ...]:
    """All sources of a run, those of --data first. Raises UserError as `parse_source`, and for a name given twice."""
    sources = [parse_source(text) for text in data] + [parse_source(text, True) for text in count_only]
    return _in_order(sources)


def _in_order(sources: Iterable[DomainSource]) -> tuple[DomainSource, ...]:
    ordered = tuple(sorted(sources, key=lambda source: source.count_only))
    seen: set[str] = set()
    for source in ordered:
        if source.name in seen:
            raise UserError(f"{source.name}={source.path}: the name {source.name!r} is given twice; name domains apart")
        seen.add(source.name)
    if not ordered or ordered[0].count_only:
        raise UserError("no corpus given; add --data NAME=PATH")
    return ordered


class WindowCutter:
    """Joins documents and cuts windows as they come (definitions.md, Data), holding ids as int32.

    With a BOS id: BOS between documents, pieces of T-1 tokens, each prefixed with BOS. Without: pieces of T tokens.
    A document without tokens is passed over. Raises UserError where T or max_tokens leave no room for a token.
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

    def add(self, ids: np.ndarray, last: bool = True) -> None:
        """Appends a document's ids `[n]`, or its next ids where `last` is False."""
        if len(ids):
            if not self._open:
                if self.documents and self._bos_id is not None:
                    self._append(np.array([self._bos_id], np.int32))
                self.documents += 1
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


def cut_windows(
    document_ids: Iterable[Sequence[int]], seq_len: int, bos_id: int | None, max_tokens: int | None = None
) -> tuple[np.ndarray, int]:
    """(windows `[S, T]` int32, dropped tokens) of documents given as ids; reads no further than max_tokens needs.

    At most max_tokens // T windows. `dropped` counts the joined documents' tokens (BOS between them included) that
    fill no window at the end, and is 0 where max_tokens ended the reading. Raises UserError as `WindowCutter`.
    """
    cutter = WindowCutter(seq_len, bos_id, max_tokens)
    for ids in document_ids:
        cutter.add(np.asarray(ids, dtype=np.int64))
        if cutter.full:
            break
    return cutter.finish()


def resolve_seq_len(requested: int | None, model_positions: int | None, sources: Sequence[DomainSource]) -> int:
    """T: as requested, else that of the `.npy` windows, else the model's positions, at most 2048.

    Raises UserError where `.npy` windows differ from it or from each other, or where the model has fewer positions.
    """
    if requested is not None and requested < 1:
        raise UserError(f"--seq-len {requested}: must be at least 1")
    if requested is not None and model_positions is not None and requested > model_positions:
        raise UserError(f"--seq-len {requested}: the model has {model_positions} positions; ask for that many at most")
    length, given_by = requested, "--seq-len"
    for source in sources:
        if not is_windows_file(source.path):
            continue
        found = open_windows_npy(source.path).shape[1]
        if model_positions is not None and found > model_positions:
            raise UserError(f"{source.path}: windows of {found}, but the model has {model_positions} positions")
        if length is not None and found != length:
            raise UserError(f"{source.path}: windows of {found}, but {given_by} has {length}; they must agree")
        length, given_by = found, str(source.path)
    if length is not None:
        return length
    return DEFAULT_SEQ_LEN if model_positions is None else min(model_positions, DEFAULT_SEQ_LEN)


def build_corpus(
    sources: Sequence[DomainSource],
    tokenizer: Any | None,
    seq_len: int,
    max_tokens: int | None,
    vocabulary_size: int,
    bos_id: int | None,
    progress: Progress | None = None,
    cache_dir: Path | None = None,
    workers: int | None = None,
) -> Corpus:
    """Reads, tokenises and cuts every source; `seq_len` is T as `resolve_seq_len` gives it.

    tokenizer: a Hugging Face tokenizer; None will do where all sources are `.npy` windows.
    max_tokens: positions a domain at most, T a window.
    cache_dir: where tokenised windows are kept, found again while files, tokenizer and settings stay the same.
    workers: 1 keeps a fast tokenizer to one thread.

    Raises UserError for whatever the sources lack: text, length, ids that fit the vocabulary.
    """
    sources = _in_order(sources)
    WindowCutter(seq_len, bos_id, max_tokens)  # refuses settings before anything is read
    if bos_id is not None and not 0 <= bos_id < vocabulary_size:
        raise UserError(
            f"the BOS id {bos_id} is outside the model's vocabulary of {vocabulary_size}; --bos-id names another"
        )
    domains: list[Domain] = []
    arrays: list[np.ndarray] = []
    first = 0
    for source in sources:
        report = _reporter(progress, source, seq_len, max_tokens)
        if is_windows_file(source.path):
            cut = _load_windows(source, seq_len, max_tokens, vocabulary_size)
        elif tokenizer is None:
            raise UserError(f"{source.name}={source.path}: MODEL has no tokenizer; give .npy windows of token ids")
        else:
            cut = _cut_text(source, tokenizer, seq_len, max_tokens, vocabulary_size, bos_id, cache_dir, workers, report)
        report(len(cut.windows))
        domains.append(
            Domain(
                name=source.name,
                first_window=first,
                windows=len(cut.windows),
                dropped_tokens=cut.dropped_tokens,
                documents=cut.documents,
                count_only=source.count_only,
                fingerprint=fingerprint_windows(cut.windows),
                notes=cut.notes,
            )
        )
        arrays.append(cut.windows)
        first += len(cut.windows)
    tokens = np.concatenate(arrays) if len(arrays) > 1 else np.ascontiguousarray(arrays[0])
    return Corpus(tokens, tuple(domains), bos_id, vocabulary_size)


def _reporter(
    progress: Progress | None, source: DomainSource, seq_len: int, max_tokens: int | None
) -> Callable[[int], None]:
    most = None if max_tokens is None else max_tokens // seq_len * seq_len

    def report(windows: int) -> None:
        if progress is not None:
            progress(source.name, windows * seq_len, most)

    return report


def _check_ids(source: DomainSource, ids: np.ndarray, vocabulary_size: int) -> None:
    if ids.size and int(ids.max()) >= vocabulary_size:
        raise UserError(
            f"{source.name}={source.path}: token id {int(ids.max())}, but the model's vocabulary has {vocabulary_size} "
            "tokens: a vocabulary that does not fit the token ids; use the model's own tokenizer"
        )


def _load_windows(source: DomainSource, seq_len: int, max_tokens: int | None, vocabulary_size: int) -> CutText:
    windows = load_windows_npy(source.path, None if max_tokens is None else max_tokens // seq_len)
    if windows.shape[1] != seq_len:
        raise UserError(
            f"{source.path}: windows of {windows.shape[1]}, but --seq-len is {seq_len}; all must be equally long"
        )
    _check_ids(source, windows, vocabulary_size)
    # A copy: the file may be written anew while the run reads its windows again and again.
    return CutText(np.array(windows, dtype=np.int32), 0, 0, ReadNotes())


def _cut_text(
    source: DomainSource,
    tokenizer: Any,
    seq_len: int,
    max_tokens: int | None,
    vocabulary_size: int,
    bos_id: int | None,
    cache_dir: Path | None,
    workers: int | None,
    report: Callable[[int], None],
) -> CutText:
    key = cache_key(source.path, tokenizer, seq_len, max_tokens, bos_id) if cache_dir is not None else ""
    cached = load_cut_text(cache_dir, key) if cache_dir is not None else None
    if cached is not None:
        _check_ids(source, cached.windows, vocabulary_size)
        return cached
    cutter, notes = WindowCutter(seq_len, bos_id, max_tokens), ReadNotes()
    for ids, last in encode_parts(iter_parts(source.path, notes), tokenizer, workers):
        _check_ids(source, ids, vocabulary_size)
        cutter.add(ids, last)
        report(cutter.n_windows)
        if cutter.full:
            break
    windows, dropped = cutter.finish()
    if not len(windows):
        _refuse_short(source, cutter.joined_tokens, seq_len if bos_id is None else seq_len - 1, notes)
    cut = CutText(windows, dropped, cutter.documents, notes)
    if cache_dir is not None:
        save_cut_text(cache_dir, key, cut)
    return cut


def _refuse_short(source: DomainSource, tokens: int, needed: int, notes: ReadNotes) -> None:
    where = f"{source.name}={source.path}"
    if not tokens:
        found = f" ({notes.summary()})" if notes.summary() else ""
        raise UserError(f"{where}: an empty corpus, no token in it{found}; name a file or folder with text")
    raise UserError(f"{where}: {tokens} tokens, but one window needs {needed}; give more text or a smaller --seq-len")
