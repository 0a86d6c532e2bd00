"""Replay against full runs, and how long the prompt screen takes: python tests/bench/ablate.py

100 token detectors on 64 windows of 512 tokens of the shape of OPT-125m, its weights random. A detector stands for a token of
the windows, drawn from those that occur 5 times or more, and lies in the first half of the layers: it is replayed where a real
one would be, in the windows that hold its token, from the first on. Only every STEP-th window and DETECTORS of the 100 are
timed; what is done once for all of them (the run before, the hidden states that move up layer by layer) counts once. Full run
and replay are timed one behind the other in one process, in CPU seconds, which a busy machine changes less.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import torch
from transformers import OPTConfig, OPTForCausalLM

from ffnscope.core.effects.attribution import direct_effects
from ffnscope.core.effects.next_tokens import compare, final_states, predict
from ffnscope.core.effects.replay import Replay
from ffnscope.core.model.layered import LayeredModel

WINDOWS, LENGTH, ALL = 64, 512, 100
OPT_125M = {
    "vocab_size": 50272,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "ffn_dim": 3072,
    "num_attention_heads": 12,
}


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    """CPU seconds that a call takes, or those of another clock."""
    begun = clock()
    work()
    return clock() - begun


def main() -> None:
    """Print the ratio and the latencies."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--step", type=int, default=16, help="time every so many-th of the 64 windows")
    parser.add_argument("--detectors", type=int, default=10, help="time so many of the 100 detectors")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    plain = OPTForCausalLM(OPTConfig(**OPT_125M, word_embed_proj_dim=768, max_position_embeddings=LENGTH))
    model = LayeredModel(plain, "random", torch.device("cpu"))
    model.prepare(torch.zeros(1, 2, dtype=torch.int64))

    rng = np.random.default_rng(0)
    weights = 1 / np.arange(1, model.unembedding().shape[0] + 1)
    corpus = rng.choice(len(weights), (WINDOWS, LENGTH), p=weights / weights.sum())
    types, counts = np.unique(corpus, return_counts=True)
    tokens = rng.choice(types[counts >= 5], ALL, replace=False)[:: ALL // options.detectors]
    windows = corpus[:: options.step]
    layers = np.sort(rng.integers(0, model.count // 2, len(tokens)))

    text = corpus[0, :50]
    before = final_states(model, text)
    predicted = seconds(lambda: predict(model, final_states(model, text), text), time.perf_counter)
    taken = seconds(
        lambda: compare(model, before, final_states(model, text, [(3, 5)]), text, [(3, 5)]), time.perf_counter
    )
    direct = seconds(lambda: direct_effects(model, text, 7, 9), time.perf_counter)
    print(
        f"50 tokens: predictions {predicted:.2f} s, without a neuron {taken:.2f} s, direct effects {direct:.2f} s",
        flush=True,
    )

    replay = Replay(model, windows, options.batch_size)
    once = seconds(lambda: replay.run({0: np.array([0])}, {}, 0))
    full = seconds(lambda: Replay(model, windows, options.batch_size).run({0: np.array([0])}, {}, 0))
    print(
        f"full run of {len(windows)} windows of {LENGTH}: {full:.1f} s, {torch.get_num_threads()} threads", flush=True
    )
    total, moving, fires = 0.0, 0.0, []
    for layer, token in zip(layers.tolist(), tokens.tolist(), strict=True):
        here = windows == token
        first = np.where(here.any(1), here.argmax(1), LENGTH).astype(np.int32)
        fires.append(float(here.any(1).mean()))
        zero = {layer: (torch.tensor([0]), torch.zeros(1))}
        moving += seconds(lambda layer=layer: replay.advance(layer))  # type: ignore[misc]
        total += seconds(lambda zero=zero, first=first: replay.changes(zero, first))  # type: ignore[misc]
    each = total / len(tokens)
    whole = (once + moving + each * ALL) / (full * ALL)
    print(f"{len(tokens)} of {ALL} detectors; one fires in {np.mean(fires):.0%} of the windows on average")
    print(f"replay of a detector {each:.2f} s on average")
    print(f"{ALL} detectors, the run before them included: {1 / whole:.1f} times as fast as {ALL} full runs")


if __name__ == "__main__":
    main()
