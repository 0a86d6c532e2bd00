"""What the demo model's neurons are assigned: n-grams and position curves, and the hinge loss that holds them to it.

Part of train.py, which says why.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

BOS = 2
ANY = -1  # in a row of `Assignment.ngrams`: any token
SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]
WORD = re.compile(r" ?[A-Za-z]{2,}")
Quotas = tuple[int, ...]  # a number of neurons for each layer
Observe = Callable[[Tensor], dict[int, Tensor]]  # tokens [B, T] to the layers' pre-activations [B * T, F]


@dataclass(frozen=True)
class Settings:
    """Every number that the model depends on."""

    steps: int = 1350
    vocabulary: int = 4096
    positions: int = 512
    width: int = 128
    neurons: int = 768
    layers: int = 6
    heads: int = 4
    batch: int = 4  # windows of a process and step
    rate: float = 3e-3
    falling: int = 300  # last steps, over which the learning rate falls
    weight_decay: float = 0.01
    seed: int = 7
    wave: float = 0.05  # amplitude of the first position embeddings
    switch: int = 250  # steps of plain training
    ramp: int = 100  # further steps until the other losses are whole
    sample: int = 256  # windows that decide the assignment
    tokens: Quotas = (64, 48, 32, 0, 0, 0)  # neurons assigned to single tokens
    bigrams: Quotas = (0, 12, 20, 12, 0, 0)
    trigrams: Quotas = (0, 0, 4, 8, 0, 0)
    waves: Quotas = (0, 12, 0, 0, 0, 0)  # neurons assigned to square waves over positions
    edges: Quotas = (0, 0, 0, 4, 6, 0)  # to one range of positions at a window's beginning or end
    shares: tuple[float, float, float] = (1.5e-4, 1.5e-4, 1e-4)  # least frequent n-grams assigned, n = 1, 2, 3
    conditional: float = 0.5  # an n-gram ends at most this share of the occurrences of its last n - 1 tokens
    twice: int = 2  # neurons of one n-gram, over all layers
    margin: float = 0.5
    hinge: float = 0.01  # weight of an assigned neuron's loss
    curve: float = 30.0  # times that, of a position curve's
    tilt: float = 0.05  # weight of the loss, an occurrence, of promoting an n-gram's last token
    suppression: float = 0.05  # from which on its logit, in units of the activation, is suppressed enough
    upstream: float = 0.3  # share of the hinge's gradient that reaches the residual stream
    targets: tuple[float, ...] = (0.01, 0.015, 0.02)  # activation frequencies, from layer 0 on
    weights: tuple[float, ...] = (3e-4, 2e-4, 1e-4)  # of the penalty at first
    haste: float = 1.015  # factor by which these weights change in a step
    most: float = 0.02  # of these weights
    early: int = 250  # steps after which a checkpoint is kept
    middle: int = 850
    save_every: int = 50


@dataclass
class Assignment:
    """What neurons of one layer stand for; n-grams first, then curves.

    `neurons` int64 [N]; `ngrams` int64 [A, 3], the last column being the current token; `expected` float32 [A], n-grams a
    process and step; `curves` float32 [N - A, T]: 1 where the neuron is to be active, -1 where not, 0 where it may.
    """

    neurons: Tensor
    ngrams: Tensor
    expected: Tensor
    curves: Tensor

    def occurrences(self, tokens: Tensor) -> Tensor:
        """Where in `tokens` [B, T] each n-gram ends: bool [B * T, A]."""
        found = torch.ones(tokens.numel(), len(self.ngrams), dtype=torch.bool)
        for back in range(3):
            wanted = self.ngrams[:, 2 - back]
            shifted = torch.full_like(tokens, BOS)
            shifted[:, back:] = tokens[:, : tokens.shape[1] - back]
            found &= (shifted.flatten()[:, None] == wanted) | (wanted == ANY)
        return found

    def losses(self, before: Tensor, found: Tensor, margin: float, weight: float = 1.0) -> Tensor:
        """The hinge losses [N] of the assigned neurons' pre-activations `before` [B * T, N], where `found` [B * T, A] are the
        `occurrences`; those of curves times `weight`."""
        split = len(self.ngrams)
        high, low = (margin - before).relu(), (margin + before).relu()
        wrong = torch.where(found, 2 * high[:, :split], low[:, :split]).sum(0) / self.expected
        curve = self.curves.T.repeat(len(found) // self.curves.shape[1], 1)
        off = high[:, split:] * (curve > 0) + low[:, split:] * (curve < 0)
        # The logarithm bounds the gradient of neurons that are still far from their n-gram.
        return torch.cat([wrong.log1p(), weight * off.mean(0)])


def words_among(ids: np.ndarray, texts: list[str]) -> np.ndarray:
    """Which tokens are words: letters that seldom go on in the next token, or go on from the token before. Bool [V]."""
    begins, ends = (np.array([text[at : at + 1 or None].isalpha() for text in texts]) for at in (0, -1))
    letters = np.array([bool(WORD.fullmatch(text)) for text in texts])
    occurrences = np.bincount(ids, minlength=len(texts)).clip(1)
    left = np.bincount(ids[1:], weights=ends[ids[:-1]] & begins[ids[1:]], minlength=len(texts)) / occurrences
    right = np.bincount(ids[:-1], weights=ends[ids[:-1]] & begins[ids[1:]], minlength=len(texts)) / occurrences
    return letters & (left < 0.1) & (right < 0.1)


def candidates(ids: np.ndarray, texts: list[str], s: Settings) -> list[list[tuple[tuple[int, ...], float]]]:
    """Frequent n-grams that end in a word, n = 1, 2, 3, padded with ANY, and their shares of the training text."""
    words = words_among(ids, texts)
    lists = []
    shorter: dict[int, int] = {}
    for n in (1, 2, 3):
        keys = sum(ids[back : len(ids) - n + 1 + back] * s.vocabulary ** (n - 1 - back) for back in range(n))
        values, counts = np.unique(keys, return_counts=True)
        count = dict(zip(values.tolist(), counts.tolist(), strict=True))
        chosen: list[tuple[tuple[int, ...], float]] = []
        endings: dict[int, int] = {}
        for at in np.argsort(-counts, kind="stable"):
            key = int(values[at])
            ngram = [key // s.vocabulary**back % s.vocabulary for back in range(n)][::-1]
            if counts[at] < s.shares[n - 1] * len(ids):
                break
            suffix = key % s.vocabulary ** (n - 1)
            rare = n == 1 or counts[at] <= s.conditional * shorter[suffix]
            if rare and words[ngram[-1]] and min(ngram) >= len(SPECIAL) and endings.get(ngram[-1], 0) < 3:
                endings[ngram[-1]] = endings.get(ngram[-1], 0) + 1
                chosen.append(((*[ANY] * (3 - n), *ngram), counts[at] / len(ids)))
        lists.append(chosen)
        shorter = count
    return lists


def square_waves(number: int, s: Settings) -> Tensor:
    """Curves [number, T] of 1 and -1 with periods of a quarter to a sixth of the window, 0 around each change."""
    rows = []
    for index in range(number):
        period = (s.positions / 4, s.positions / 5, s.positions / 6)[index % 3]
        phase = torch.sin(2 * math.pi * (torch.arange(s.positions) / period + index / number))
        rows.append(torch.sign(phase) * (phase.abs() > 0.3))
    return torch.stack(rows) if rows else torch.zeros(0, s.positions)


def edge_curves(number: int, s: Settings) -> Tensor:
    """Curves [number, T] that are high at the beginning, or the end, of a window, for an eighth of it or more."""
    rows = []
    for index in range(number):
        place = torch.arange(s.positions) - s.positions * (index + 1) / (number + 1)
        rows.append(torch.sign(place) * (place.abs() > s.positions / 32) * (1 if index % 2 else -1))
    return torch.stack(rows) if rows else torch.zeros(0, s.positions)


@torch.no_grad()
def assign(observe: Observe, windows: Tensor, ids: np.ndarray, texts: list[str], s: Settings) -> dict[int, Assignment]:
    """Give n-grams and curves to the neurons whose pre-activations in `windows` [S, T + 1] prefer them already.

    The preference of a neuron is the mean of its pre-activation there less its mean everywhere, in standard deviations.
    The strongest preferences come first; a neuron gets one n-gram, an n-gram one neuron a layer and `twice` in all.
    """
    lists = candidates(ids, texts, s)
    waves, edges = ([make(n, s) for n in quota] for make, quota in ((square_waves, s.waves), (edge_curves, s.edges)))
    curves = [torch.cat(each) for each in zip(waves, edges, strict=True)]
    everything = [each for chosen in lists for each in chosen]
    ngrams = Assignment(
        torch.empty(0), torch.tensor([ngram for ngram, _ in everything]), torch.empty(0), torch.empty(0)
    )
    sums = torch.zeros(s.layers, len(everything), s.neurons)
    curve_sums = [torch.zeros(len(each), s.neurons) for each in curves]
    totals, squares = torch.zeros(2, s.layers, s.neurons)
    found_in_all = torch.zeros(len(everything))
    for part in windows[:, :-1].split(s.batch):
        tokens = part.clone()
        tokens[:, 0] = BOS
        found = ngrams.occurrences(tokens).float()
        found_in_all += found.sum(0)
        for layer, before in observe(tokens).items():
            sums[layer] += found.T @ before
            totals[layer] += before.sum(0)
            squares[layer] += before.square().sum(0)
            curve_sums[layer] += curves[layer].repeat(1, len(tokens)) @ before
    size = len(windows) * s.positions
    mean = totals / size
    spread = (squares / size - mean.square()).clamp(min=1e-8).sqrt()
    preference = (sums / found_in_all.clamp(min=1)[:, None] - mean[:, None]) / spread[:, None]
    preference[:, found_in_all < 10] = -torch.inf
    kinds = [n for n, chosen in enumerate(lists) for _ in chosen]
    quotas = [[s.tokens, s.bigrams, s.trigrams][n] for n in range(3)]
    left = [[quota[layer] for quota in quotas] for layer in range(s.layers)]
    given: list[dict[int, int]] = [{} for _ in range(s.layers)]  # neuron: n-gram
    uses = [0] * len(everything)
    # Curves are few and take the best neurons first.
    places: list[list[int]] = []
    for layer, curve in enumerate(curves):
        agreement = (curve_sums[layer] / size - curve.mean(1)[:, None] * mean[layer]) / spread[layer]
        places.append([])
        for row in agreement:
            row[places[-1]] = -torch.inf
            places[-1].append(int(row.argmax()))
    for layer, at in itertools.product(range(s.layers), range(len(everything))):
        if not left[layer][kinds[at]]:
            preference[layer, at] = -torch.inf
    order = preference.flatten().argsort(descending=True)[: int((preference > 0).sum())]
    for layer, at, neuron in np.stack(np.unravel_index(order.numpy(), preference.shape), 1).tolist():
        free = neuron not in given[layer] and neuron not in places[layer] and at not in given[layer].values()
        if left[layer][kinds[at]] and uses[at] < s.twice and free:
            given[layer][neuron] = at
            uses[at] += 1
            left[layer][kinds[at]] -= 1
    assigned = {}
    for layer in range(s.layers):
        if not given[layer] and not places[layer]:
            continue
        rows = [everything[at] for at in given[layer].values()]
        expected = torch.tensor([max(1.0, share * s.batch * s.positions) for _, share in rows], dtype=torch.float32)
        neurons = torch.tensor([*given[layer], *places[layer]])
        named = torch.tensor([ngram for ngram, _ in rows], dtype=torch.int64).reshape(-1, 3)
        assigned[layer] = Assignment(neurons, named, expected, curves[layer])
    return assigned
