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


def collect_rules(folder):
    """Neurons that fire by known rules: (store, rules by layer)."""
    model, rules = tm.rule_model(folder / "model", 24, 16, tm.default_rules(24, 16), tokenizer=True)
    return collect(model, folder, 16, tm.random_text(np.random.default_rng(1), 6000, 24)), rules


def collect_hostile(folder):
    """A store whose every token is hostile."""
    size = len(dict.fromkeys(["<s>", "</s>", "<unk>", *tm.HOSTILE, *tm.words(20), *tm.INVALID_BYTES]))
    model = tm.tiny("opt", folder, vocab_size=size, max_position_embeddings=96)
    tm.tiny_tokenizer(model, hostile=True)
    return collect(model, folder, 32, "".join(tm.HOSTILE).replace("\0", "") * 40)
