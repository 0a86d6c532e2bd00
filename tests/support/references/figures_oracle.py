"""Every figure of a store once more, from nothing but its `export --token-ids` CSV, in plain Python."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

DETECTORS = ("token", "bigram", "trigram")
BINS = [(0, 0), (1, 1), (2, 3), (4, 5), (6, 10), (11, 20), (21, 50), (51, 200), (201, 1000), (1001, 2000), (2001, None)]
LABELS = ["0", "1", "2-3", "4-5", "6-10", "11-20", "21-50", "51-200", "201-1k", "1k-2k", ">2k"]
TYPES = [(kind, strength) for kind in ("oscillatory", "both", "one", "other") for strength in ("strong", "weak")]


def read_layers(path: Path) -> dict[int, list[dict[str, str]]]:
    """The rows of an exported CSV by layer."""
    layers: dict[int, list[dict[str, str]]] = {}
    with path.open(encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            layers.setdefault(int(row["layer"]), []).append(row)
    return layers


def wilson(part: int, whole: int) -> tuple[float, float]:
    """Wilson's interval as the roots of (share - p)^2 = z^2 p (1 - p) / n."""
    z2, share = 1.959963984540054**2, part / whole
    a, b, c = 1 + z2 / whole, -(2 * share + z2 / whole), share * share
    root = math.sqrt(max(b * b - 4 * a * c, 0.0))
    return (-b - root) / (2 * a), (-b + root) / (2 * a)


def grams(row: dict[str, str]) -> set[tuple[int, ...]]:
    """The n-grams that a neuron detects."""
    found = set()
    for gram, _, _ in json.loads(row["detected_tokens"]):
        found.add(tuple(gram) if isinstance(gram, list) else (gram,))
    return found


def figures(layers: dict[int, list[dict[str, str]]], model_layers: int) -> dict[str, list[list]]:
    """Rows of every tidy table by key, but those that no CSV of neurons can give (5 and 9)."""
    out: dict[str, list[list]] = {}

    def put(key: str, *row: object) -> None:
        out.setdefault(key, []).append(list(row))

    seen: dict[str, set] = {kind: set() for kind in DETECTORS}
    before: dict[str, set] = {kind: set() for kind in DETECTORS}
    for layer, rows in sorted(layers.items()):
        depth = layer / (model_layers - 1) if model_layers > 1 else 0.0
        positions = int(rows[0]["positions"])
        alive = [row for row in rows if int(row["activations"]) > 0]
        dead = len(rows) - len(alive)
        put(
            "figure_1a_dead_neurons",
            layer,
            depth,
            len(rows),
            dead,
            dead / len(rows),
            *wilson(dead, len(rows)),
            positions,
        )
        total = sum(int(row["activations"]) for row in alive)
        mean = math.fsum(int(row["activations"]) / positions for row in alive) / len(alive) if alive else None
        put("figure_1b_activation_frequency", layer, depth, len(alive), total, positions, mean)
        for order, column in enumerate(("unigrams_95", "bigrams_95", "trigrams_95"), start=1):
            for (low, high), label in zip(BINS, LABELS, strict=True):
                held = [row for row in alive if low <= int(row[column]) and (high is None or int(row[column]) <= high)]
                half = layer < model_layers // 2
                put("figure_2_covering_ngrams", layer, depth, half, order, low, high, label, len(held))
        for kind in DETECTORS:
            having = [row for row in rows if row["kind"] == kind]
            found = set().union(*map(grams, having))
            put("figure_3a_detectors", layer, depth, kind, len(having))
            put("figure_3b_detected_ngrams", layer, depth, kind, len(found), len(seen[kind] | found))
            put(
                "figure_4_new_ngrams",
                layer,
                depth,
                kind,
                len(found),
                len(found - seen[kind]),
                len(found - before[kind]),
            )
            down = sum(row["suppresses_triggers"] == "true" for row in having)
            share = [down / len(having), *wilson(down, len(having))] if having else [None, None, None]
            put("section_4_4_suppression", layer, depth, kind, len(having), down, *share)
            seen[kind] |= found
            before[kind] = found
        for kind, strength in TYPES:
            same = [row for row in rows if (row["position_type"], row["position_strength"]) == (kind, strength)]
            put("figure_8_positional_neurons", layer, depth, kind, strength, len(same))
    return out
