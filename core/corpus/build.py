"""From the domains that were asked for to the corpus: read, tokenise, cut into windows, check."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ffnscope.core.corpus.cache import cache_key, load_cut_text, save_cut_text
from ffnscope.core.corpus.documents import iter_parts
from ffnscope.core.corpus.fields import TextField
from ffnscope.core.corpus.sources import DomainSource, in_order
from ffnscope.core.corpus.text import ReadNotes
from ffnscope.core.corpus.tokens import encode_labelled
from ffnscope.core.corpus.window_files import is_windows_file, load_windows_npy, open_windows_npy
from ffnscope.core.corpus.windows import Corpus, CutText, Domain, WindowCutter, fingerprint_labelled
from ffnscope.core.model.tokenizer import chat_renderer
from ffnscope.store.errors import UserError

DEFAULT_SEQ_LEN = 2048  # the paper's
Progress = Callable[
    [str, int, int | None], None
]  # called with (domain, positions in windows so far, positions at most or None)


def resolve_seq_len(requested: int | None, model_positions: int | None, sources: Sequence[DomainSource]) -> int:
    """T: as requested, else that of the `.npy` windows, else the model's positions, at most 2048.

    Raises UserError where `.npy` windows differ from it or from each other, or where the model has fewer positions.
    """
    if requested is not None and requested < 1:
        raise UserError(f"--seq-len {requested}: must be at least 1")
    if requested is not None and model_positions is not None and requested > model_positions:
        raise UserError(f"--seq-len {requested}: the model has {model_positions} positions; give at most that many")
    length, given_by = requested, "--seq-len"
    for source in sources:
        if not is_windows_file(source.path):
            continue
        width = open_windows_npy(source.path).shape[1]
        if model_positions is not None and width > model_positions:
            raise UserError(f"{source.path}: windows of {width}, but the model has {model_positions} positions")
        if length is not None and width != length:
            raise UserError(f"{source.path}: windows of {width}, but {given_by} has {length}; they must agree")
        length, given_by = width, str(source.path)
    if length is not None:
        return length
    return DEFAULT_SEQ_LEN if model_positions is None else min(model_positions, DEFAULT_SEQ_LEN)


def build_corpus(
    sources: Sequence[DomainSource],
    tokenizer: Any | None,
    seq_len: int,
    *,
    max_tokens: int | None = None,
    vocabulary_size: int,
    bos_id: int | None,
    progress: Progress | None = None,
    cache_dir: Path | None = None,
    workers: int | None = None,
) -> Corpus:
    """Reads, tokenises and cuts every source; `seq_len` is T as `resolve_seq_len` gives it.

    tokenizer: a Hugging Face tokenizer; may be None where all sources are `.npy` windows.
    max_tokens: at most this many positions per domain, of which each window has T.
    cache_dir: where tokenised windows are kept, found again while files, tokenizer and settings stay the same.
    workers: 1 keeps a fast tokenizer to one thread.

    Raises UserError for sources with too little text, windows of another length, and ids outside the vocabulary.
    """
    sources = in_order(sources)
    WindowCutter(seq_len, bos_id, max_tokens)  # refuses settings before anything is read
    if bos_id is not None and not 0 <= bos_id < vocabulary_size:
        raise UserError(
            f"the BOS id {bos_id} is outside the model's vocabulary of {vocabulary_size}; give another with --bos-id"
        )
    if tokenizer is not None:
        _read_first_documents(sources[1:], tokenizer)
    domains: list[Domain] = []
    arrays: list[np.ndarray] = []
    labels: dict[str, list[np.ndarray]] = {}
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
                fingerprint=fingerprint_labelled(cut.windows, cut.labels),
                notes=cut.notes,
            )
        )
        arrays.append(cut.windows)
        for label, places in cut.labels.items():
            labels.setdefault(label, []).append(first * seq_len + places)
        first += len(cut.windows)
    tokens = np.concatenate(arrays) if len(arrays) > 1 else np.ascontiguousarray(arrays[0])
    marked = {label: np.concatenate(parts) for label, parts in sorted(labels.items())}
    return Corpus(tokens, tuple(domains), bos_id, vocabulary_size, marked)


def _read_first_documents(sources: Sequence[DomainSource], tokenizer: Any) -> None:
    """Raise UserError for a text source whose first document cannot be read: tokenising those before it may take hours."""
    for source in sources:
        if not is_windows_file(source.path):
            field = TextField(source.text_field, chat_renderer(tokenizer))
            next(iter_parts(source.path, ReadNotes(), field), None)


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
            f"{source.path}: windows of {windows.shape[1]}, but --seq-len is {seq_len}; all windows must have the same length"
        )
    _check_ids(source, windows, vocabulary_size)
    # A copy: the file may be written again while the run reads its windows again and again.
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
    field = TextField(source.text_field, chat_renderer(tokenizer))
    key = ""
    if cache_dir is not None:
        key = cache_key(source.path, tokenizer, seq_len, max_tokens, bos_id, field.name)
    cached = load_cut_text(cache_dir, key) if cache_dir is not None else None
    if cached is not None:
        _check_ids(source, cached.windows, vocabulary_size)
        return cached
    cutter, notes = WindowCutter(seq_len, bos_id, max_tokens), ReadNotes()
    for encoded in encode_labelled(iter_parts(source.path, notes, field), tokenizer, workers):
        _check_ids(source, encoded.ids, vocabulary_size)
        cutter.add(*encoded)
        report(cutter.n_windows)
        if cutter.full:
            break
    windows, dropped = cutter.finish()
    if not len(windows):
        _refuse_short(source, cutter.joined_tokens, seq_len if bos_id is None else seq_len - 1, notes)
    cut = CutText(windows, dropped, cutter.documents, notes, cutter.labels(len(windows)))
    if cache_dir is not None:
        save_cut_text(cache_dir, key, cut)
    return cut


def _refuse_short(source: DomainSource, tokens: int, needed: int, notes: ReadNotes) -> None:
    where = f"{source.name}={source.path}"
    if not tokens:
        reason = f" ({notes.summary()})" if notes.summary() else ""
        raise UserError(f"{where}: the corpus is empty: it has no tokens{reason}; give a file or folder with text")
    raise UserError(f"{where}: {tokens} tokens, but one window needs {needed}; give more text or a smaller --seq-len")
