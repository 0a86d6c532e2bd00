"""The corpus of a run: read it, and report what was read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ffnscope.core.corpus.build import build_corpus, resolve_seq_len
from ffnscope.core.corpus.documents import describe
from ffnscope.core.corpus.windows import Corpus
from ffnscope.core.model.source import ModelSource
from ffnscope.core.run.progress import Report
from ffnscope.core.run.request import CollectRequest
from ffnscope.store.definitions import FEW_WINDOWS
from ffnscope.store.records import Progress


def read_corpus(request: CollectRequest, source: ModelSource, tokenizer: Any, report: Report) -> Corpus:
    """The corpus that was asked for, as windows for this model. Raises UserError as ``build_corpus``."""
    for domain in request.sources:
        report(f"{domain.name}: {describe(domain.path, domain.text_field)}")
    corpus = build_corpus(
        request.sources,
        tokenizer,
        resolve_seq_len(request.seq_len, source.positions, request.sources),
        max_tokens=request.max_tokens,
        vocabulary_size=source.vocabulary,
        bos_id=_bos_id(request, source, tokenizer, report),
        progress=_reading(report),
        cache_dir=request.scratch_folder / "tokens",
    )
    _report_corpus(corpus, report)
    return corpus


def _bos_id(request: CollectRequest, source: ModelSource, tokenizer: Any, report: Report) -> int | None:
    if request.bos_id is not None:
        return request.bos_id
    if tokenizer is None:
        report(f"{source.name}: no tokenizer, so tokens are shown as ids and none is BOS (set it with --bos-id)")
        return None
    return tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id


def _report_corpus(corpus: Corpus, report: Report) -> None:
    for domain in corpus.domains:
        line = f"{domain.name}: {domain.windows:,} window{'' if domain.windows == 1 else 's'} of {corpus.seq_len}"
        if domain.dropped_tokens:
            line += f", {domain.dropped_tokens} tokens left over"
        notes = domain.notes.summary()
        report(line + (f"; {notes}" if notes else "") + (" (count only)" if domain.count_only else ""))
    counted = sum(domain.windows for domain in corpus.domains if not domain.count_only)
    if counted < FEW_WINDOWS:
        windows = "1 window" if counted == 1 else f"{counted} windows"
        report(f"only {windows}: positional neurons need {FEW_WINDOWS} or more to be distinguished from chance")


def _reading(report: Report) -> Callable[[str, int, int | None], None]:
    def say(domain: str, tokens: int, most: int | None) -> None:
        share = tokens / most if most else 0.0
        report(Progress("collecting", phase=f"reading {domain}: {tokens:,} tokens", fraction=share))

    return say
