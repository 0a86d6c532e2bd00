"""A store whose model is at hand, for tests of prompts."""

from __future__ import annotations

import numpy as np
import tiny_models as tm
from exact import run

from ffnscope.core.corpus.sources import DomainSource


def collect(model, folder, seq_len=tm.SEQ_LEN, text=None, **options):
    """A store of a model with a tokenizer, over a text of its words."""
    folder.mkdir(parents=True, exist_ok=True)
    corpus = folder / "words.txt"
    corpus.write_text(text or tm.random_text(np.random.default_rng(5), 4000), "utf-8")
    return run(model, (DomainSource("words", corpus),), folder / "s.ffn", seq_len=seq_len, min_occurrences=2, **options)
