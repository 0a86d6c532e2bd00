"""The windows that an effect is measured on: a store's kept windows, or other text cut as the store's corpus was."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ffnscope.core.corpus.build import build_corpus
from ffnscope.core.corpus.sources import DomainSource
from ffnscope.core.corpus.text import Part
from ffnscope.core.corpus.tokens import encode_parts
from ffnscope.core.corpus.window_files import is_windows_file
from ffnscope.core.corpus.windows import fingerprint_windows
from ffnscope.store.definitions import TESTED_TOKENS
from ffnscope.store.errors import UserError
from ffnscope.store.reader import Store


@dataclass(frozen=True, eq=False)
class TestedWindows:
    """M windows of T tokens, and those that a neuron's mean is taken over.

    ``tokens`` [M, T] int64; ``mean_over`` [K, T] int64; ``bos_id`` is left out of the mean. ``source`` says in words
    where they come from.
    """

    tokens: np.ndarray
    mean_over: np.ndarray
    bos_id: int | None
    source: str

    @property
    def positions(self) -> int:
        """Tested positions: all but each window's last, where nothing is left to predict."""
        return len(self.tokens) * (self.tokens.shape[1] - 1)

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits of the sha256 over the windows' tokens."""
        return fingerprint_windows(self.tokens)[:16]


def chosen_windows(count: int, seq_len: int, tokens: int) -> np.ndarray:
    """[M] int64: of ``count`` windows in the corpus's order, M = min(count, ceil(tokens / T)), evenly spread."""
    chosen = min(count, -(-tokens // seq_len))
    return np.arange(chosen, dtype=np.int64) * count // max(chosen, 1)


def kept_windows(store: Store, tokens: int = TESTED_TOKENS) -> TestedWindows:
    """Kept windows of a store that hold about ``tokens`` tokens (definitions: "Tested windows"). Raises UserError where
    the store keeps none."""
    kept = store.kept
    chosen = chosen_windows(len(kept.windows), store.run.corpus.seq_len, tokens)
    every = kept.tokens.astype(np.int64)
    source = f"{len(chosen):,} of {len(every):,} kept windows of {store.path.name or store.path}"
    return _checked(TestedWindows(every[chosen], every, store.run.corpus.bos_id, source))


def windows_of_files(store: Store, path: Path, tokenizer: Any | None, tokens: int = TESTED_TOKENS) -> TestedWindows:
    """Text of a file or folder, read, tokenised and cut as a domain of the store's corpus. Raises UserError."""
    corpus = store.run.corpus
    if tokenizer is None and not is_windows_file(path):
        raise UserError(f"--data {path}: the model has no tokenizer; give .npy windows of token ids")
    built = build_corpus(
        (DomainSource("data", path),),
        tokenizer,
        corpus.seq_len,
        vocabulary_size=store.run.model.vocabulary,
        bos_id=corpus.bos_id,
    )
    every = np.asarray(built.tokens, np.int64)
    chosen = every[chosen_windows(len(every), corpus.seq_len, tokens)]
    return _checked(
        TestedWindows(chosen, chosen, corpus.bos_id, f"{len(chosen):,} of {len(every):,} windows of {path}")
    )


def window_of_text(store: Store, text: str, tokenizer: Any | None) -> TestedWindows:
    """One window that holds a text, BOS first where the store's windows have it; at most T tokens. Raises UserError."""
    if tokenizer is None:
        raise UserError("--text: the model has no tokenizer; give --data with .npy windows of token ids")
    corpus = store.run.corpus
    ids = np.concatenate([ids for ids, _ in encode_parts([Part(text, True)], tokenizer, workers=1)])
    bos = [] if corpus.bos_id is None else [corpus.bos_id]
    window = np.concatenate([np.array(bos, np.int64), ids.astype(np.int64)])[None, : corpus.seq_len]
    if window.size and int(window.max()) >= store.run.model.vocabulary:
        raise UserError(f"--text: token id {int(window.max())} is outside the model's vocabulary")
    if window.shape[1] < 2:
        raise UserError("--text: has no two tokens, so there is none to predict; give more text")
    return TestedWindows(window, window, corpus.bos_id, f"a text of {window.shape[1]:,} tokens")


def _checked(windows: TestedWindows) -> TestedWindows:
    if windows.tokens.shape[1] < 2:
        raise UserError("windows of one token leave no next token to predict; collect with a larger --seq-len")
    return windows
