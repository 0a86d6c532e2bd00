"""What one store says of the paper's claims, in words that its numbers carry.

The rules are these. Below FEW_WINDOWS windows nothing is judged. A share of detectors is judged from MIN_DETECTORS on, by
its 95% Wilson interval: it agrees where the interval lies above the paper's figure, differs where it lies below. What
compares the halves of the network needs all of its layers; what compares layers by rank needs MIN_LAYERS.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ffnscope.store.definitions import FEW_WINDOWS
from ffnscope.store.figures.intervals import interval, rank_correlation
from ffnscope.store.figures.layers import FEW, LayerFigures, ModelFigures
from ffnscope.tui.drawing.numbers import count, freq, percent
from ffnscope.tui.reports.catalogue.detectors import SUPPRESSING
from ffnscope.tui.reports.document import Finding, Value
from ffnscope.tui.reports.figures import interval_text
from ffnscope.tui.reports.formats.values import layers_text

MIN_DETECTORS = 20
MIN_LAYERS = 6
MOSTLY_DEAD = 0.01  # a half with fewer dead neurons is "fully alive"
SPARSE = 0.05  # a half with more dead neurons holds "a solid proportion"
FALLS, PARTLY_FALLS = -0.7, -0.3  # rank correlations of dead share and mean frequency: it falls, and falls in part
MOSTLY_NEW = 0.5  # a larger share of detected tokens is "mostly" new
AGREES, PARTLY, DIFFERS, TOO_LITTLE, SHOWN = "agrees", "partly", "differs", "too little data", "shown"

# The paper's claims, each with its section.
CLAIMS = {
    "sparse_first_half": "Only the first half is sparse: many dead neurons there, none in the second (3)",
    "rare_where_dead": "In layers with most dead neurons the alive ones are activated most rarely (3)",
    "few_tokens": "In the first half many neurons are covered by 1 to 5 tokens; some detect tokens (4.1, 4.2)",
    "new_tokens": "Layers detect mostly tokens that no layer before them detects (4.3)",
    "suppressed_triggers": "Over 80% of the token detectors suppress the tokens that they detect (4.4)",
    "positional": "Some neurons depend on position; small models have oscillatory ones, large ones none (5)",
    "like_350m": "The 350m model is the odd one out: no dead neurons, no neurons of few n-grams (6)",
}
Numbers = dict[str, Value]
Judgement = tuple[str, str, Numbers]  # verdict, text with the numbers, the numbers


def findings(figures: ModelFigures) -> tuple[Finding, ...]:
    """What there is to say of each claim."""
    judges = (
        _sparse_first_half,
        _rare_where_dead,
        _few_tokens,
        _new_tokens,
        _suppressed_triggers,
        _positional,
        _like_350m,
    )
    out = []
    for (key, claim), judge in zip(CLAIMS.items(), judges, strict=True):
        verdict, text, numbers = judge(figures)
        if figures.windows < FEW_WINDOWS and verdict != TOO_LITTLE:
            verdict = TOO_LITTLE
            text += f" Too few windows ({figures.windows}; {FEW_WINDOWS} are wanted) to say more."
        out.append(Finding(key, claim, verdict, text, numbers))
    return tuple(out)


def _half(layers: Sequence[LayerFigures]) -> tuple[int, int, float]:
    dead, neurons = sum(x.dead for x in layers), sum(x.neurons for x in layers)
    return dead, neurons, dead / neurons if neurons else math.nan


def _halves_missing(figures: ModelFigures) -> str:
    """Why halves cannot be compared; nothing where they can."""
    if figures.model_layers < 2:
        return "The model has one layer: no halves to compare."
    if not figures.whole:
        present = {x.layer for x in figures.layers}
        missing = layers_text(tuple(x for x in range(figures.model_layers) if x not in present))
        return f"The halves cannot be compared: the store lacks layers {missing} of {figures.model_layers}."
    return ""


def _sparse_first_half(figures: ModelFigures) -> Judgement:
    """Section 3, Figure 1a: dead neurons lie in the first half."""
    dead, neurons, _ = _half(figures.layers)
    over = f"over {count(figures.positions)} positions"
    if missing := _halves_missing(figures):
        text = f"{count(dead)} of {count(neurons)} neurons are dead {over}. {missing}"
        return TOO_LITTLE, text, {"dead": dead, "neurons": neurons}
    first, second = _half(figures.first_half), _half(figures.second_half)
    top = max(figures.layers, key=lambda x: (x.dead_share, -x.layer))
    text = (
        f"First half: {count(first[0])} of {count(first[1])} neurons dead ({percent(first[2], 1)}); second half: "
        f"{count(second[0])} of {count(second[1])} ({percent(second[2], 1)}), {over}."
    )
    if top.dead:
        text += f" Most in layer {top.layer}: {percent(top.dead_share, 1)}."
    if first[2] >= SPARSE and second[2] <= MOSTLY_DEAD:
        verdict = AGREES
    elif first[2] >= SPARSE and first[2] >= 2 * second[2]:
        verdict = PARTLY
        text += " The second half has far fewer, but is not fully alive."
    else:
        verdict = DIFFERS
    text += f" A neuron activated more rarely than once in {count(_once_in(figures))} positions can be missed."
    numbers: Numbers = {
        "first_half_dead": first[0],
        "first_half_neurons": first[1],
        "second_half_dead": second[0],
        "second_half_neurons": second[1],
        "positions": figures.positions,
        "dead_bound": figures.dead_bound,
    }
    return verdict, text, numbers


def _once_in(figures: ModelFigures) -> int:
    return max(figures.positions // 3, 1)


def _rare_where_dead(figures: ModelFigures) -> Judgement:
    """Section 3, Figure 1b against 1a."""
    alive = [x for x in figures.layers if x.alive]
    means = [x.mean_frequency_alive or 0.0 for x in alive]
    rho = rank_correlation([x.dead_share for x in alive], means)
    numbers: Numbers = {"layers": len(alive), "rank_correlation": None if math.isnan(rho) else rho}
    if not any(x.dead for x in alive):
        return TOO_LITTLE, "No layer with alive neurons has dead ones: nothing to compare.", numbers
    if len(alive) < MIN_LAYERS or math.isnan(rho):
        text = f"Too few layers ({len(alive)}; {MIN_LAYERS} are wanted) to say."
        return TOO_LITTLE, text, numbers
    rarest = alive[means.index(min(means))]
    text = (
        f"Rank correlation of dead share and mean frequency over {len(alive)} layers: {rho:.2f}. The alive are rarest "
        f"in layer {rarest.layer} (mean frequency {freq(min(means)).strip()}, {percent(rarest.dead_share, 1)} dead)."
    )
    return AGREES if rho <= FALLS else PARTLY if rho < PARTLY_FALLS else DIFFERS, text, numbers


def _few_tokens(figures: ModelFigures) -> Judgement:
    """Sections 4.1 and 4.2, Figures 2 and 3a: neurons of few tokens, detectors."""
    layers = figures.first_half
    alive, few = sum(x.alive for x in layers), sum(x.tokens.few for x in layers)
    total = figures.detectors()
    early = sum(x.tokens.detectors for x in layers)
    text = (
        f"{count(few)} of {count(alive)} alive neurons of the first half ({percent(few / alive if alive else math.nan, 1)}) "
        f"are covered by 1 to {FEW} tokens. Token detectors: {count(total)}, {count(early)} of them in the first half; "
        f"bigram: {count(figures.detectors(2))}; trigram: {count(figures.detectors(3))}."
    )
    if not figures.whole:
        text += f" Of {len(figures.layers)} of {figures.model_layers} layers."
    numbers: Numbers = {
        "first_half_alive": alive,
        "first_half_covered_by_few": few,
        **{f"{word}_detectors": figures.detectors(n) for n, word in ((1, "token"), (2, "bigram"), (3, "trigram"))},
    }
    return SHOWN if alive else TOO_LITTLE, text, numbers


def _new_tokens(figures: ModelFigures) -> Judgement:
    """Section 4.3, Figure 4: layers detect tokens that those before do not."""
    having = [x for x in figures.layers if x.tokens.detected]
    later = having[1:]
    new, detected = (sum((getattr(x.tokens, name) or 0) for x in later) for name in ("new_overall", "detected"))
    numbers: Numbers = {
        "detected_overall": figures.detected(),
        "later_layers_detected": detected,
        "later_layers_new": new,
    }
    if detected < MIN_DETECTORS:
        text = (
            f"{count(figures.detected())} different tokens are detected, by {count(figures.detectors())} token detectors "
            f"in {len(having)} layers; too few ({count(detected)} after the first of these layers) to say."
        )
        return TOO_LITTLE, text, numbers
    low, high = interval(new, detected)
    text = (
        f"{count(figures.detected())} different tokens are detected. After layer {having[0].layer}, the first with any, "
        f"{count(new)} of {count(detected)} are new ({percent(new / detected, 1)}; {interval_text(low, high)})."
    )
    if figures.missing or not figures.whole:
        text += " Only layers in the store count as before."
    return AGREES if low > MOSTLY_NEW else DIFFERS if high < MOSTLY_NEW else PARTLY, text, numbers


def _suppressed_triggers(figures: ModelFigures) -> Judgement:
    """Section 4.4: over 80% of token detectors suppress their triggers."""
    k, n = figures.suppressing(), figures.detectors()
    low, high = interval(k, n)
    numbers: Numbers = {"token_detectors": n, "suppressing": k, "low": low, "high": high}
    if not n:
        return TOO_LITTLE, "No token detectors.", numbers
    if n < MIN_DETECTORS:
        text = f"{count(k)} of {count(n)} do; too few detectors ({n}) to say."
        return TOO_LITTLE, text, numbers
    verdict = AGREES if low > SUPPRESSING else DIFFERS if high < SUPPRESSING else PARTLY
    text = f"{count(k)} of {count(n)} do: {percent(k / n, 1)} ({interval_text(low, high)})."
    if verdict == PARTLY:
        text += " The interval holds 80%: neither over nor under it."
    return verdict, text, numbers


def _positional(figures: ModelFigures) -> Judgement:
    """Section 5, Figure 8: which positional neurons there are."""
    by_type: dict[str, dict[str, int]] = {}
    for (kind, strength), number in figures.positional().items():
        by_type.setdefault(kind, {})[strength] = number
    totals = {kind: sum(numbers.values()) for kind, numbers in by_type.items()}
    total = sum(totals.values())
    parts = [
        f"{kind} {count(totals[kind])} ({', '.join(f'{count(n)} {strength}' for strength, n in numbers.items() if n)})"
        for kind, numbers in by_type.items()
        if totals[kind]
    ]
    where = layers_text(tuple(x.layer for x in figures.layers if x.positional_neurons))
    over = f"over {count(figures.windows)} windows"
    text = f"No positional neurons {over}."
    if total:
        text = f"{count(total)} positional neurons {over}: {', '.join(parts)}; in layers {where}."
        if not totals["oscillatory"]:
            text += " None is oscillatory."
    numbers: Numbers = {f"{k}_{s}": n for (k, s), n in figures.positional().items()}
    return SHOWN, text, {"positional": total, **numbers}


def _like_350m(figures: ModelFigures) -> Judgement:
    """Section 6: the 350m model has no dead neurons and no sparsity."""
    dead = sum(x.dead for x in figures.layers)
    alive = sum(x.alive for x in figures.layers)
    few = [sum(x.ngrams[i].few for x in figures.layers) for i in range(3)]
    covered = f"{count(few[0])} of {count(alive)} alive ones are covered by 1 to {FEW} tokens"
    text = f"Here {count(dead)} neurons are dead and {covered}"
    numbers: Numbers = {"dead": dead, "alive": alive, "covered_by_few_tokens": few[0]}
    if not figures.whole:
        return TOO_LITTLE, f"{text}, in {len(figures.layers)} of {figures.model_layers} layers.", numbers
    if not dead and not few[0]:
        return AGREES, f"{text}: the pattern of the 350m model.", numbers
    share = (dead + few[0]) / max(dead + alive, 1)
    if share < MOSTLY_DEAD:
        return PARTLY, f"{text} ({percent(share, 1)} together): nearly the pattern of the 350m model.", numbers
    return DIFFERS, f"{text}: not the pattern of the 350m model.", numbers
