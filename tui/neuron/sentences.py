"""The sentences of a neuron's page, most important first."""

from __future__ import annotations

from ffnscope.store.concepts.descriptions import formula_text
from ffnscope.store.definitions import ORDERS
from ffnscope.store.records import Neuron
from ffnscope.tui.drawing.lines import Part, Writer
from ffnscope.tui.drawing.numbers import count, freq, percent, signed
from ffnscope.tui.neuron.data import PageData


def ordinal(n: int) -> str:
    """1st, 2nd, 3rd, 11th."""
    ending = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n:,}{ending}"


def _many(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def headline(page: PageData) -> list[Part]:
    """What the neuron is, in one line."""
    neuron = page.neuron
    if neuron.order:
        parts: list[Part] = [(f"{ORDERS[neuron.order]} detector of ", "bright")]
        for ngram in sorted(neuron.detected, key=lambda ngram: -ngram.count):
            parts += page.ngram(ngram.tokens, "token").parts
            parts.append((" ", "text"))
        return parts
    if not neuron.activations:
        return [(f"dead: never activated in {count(neuron.positions)} positions", "bright")]
    if neuron.position_type:
        return [("positional: ", "bright"), (f"{neuron.position_type} {neuron.position_strength}", "position")]
    return [("neither detector nor positional", "bright")]


def page_sentences(page: PageData) -> list[list[Part]]:
    """The page's sentences, most important first, each the parts of one line."""
    neuron = page.neuron
    dot = f" {page.glyphs.dot} "
    out = [headline(page)]
    if neuron.expert is not None:
        out.append(_expert(page))
    if neuron.order and neuron.position_type:
        out.append([("also positional: ", "text"), (f"{neuron.position_type} {neuron.position_strength}", "position")])
    if neuron.order:
        out.append(_coverage(page, dot))
        out.append(_suppression(page, dot))
    elif neuron.activations:
        out.append(_mostly(page))
    if neuron.activations:
        if neuron.descriptions:
            out.append(_described(page, dot))
        out.append(_counts(page, dot))
        out.append(_domains(page))
        out += _explained(page, dot)
        cover = (_many(neuron.unigrams_95, "unigram"), _many(neuron.bigrams_95, "bigram"))
        trigrams = _many(neuron.trigrams_95, "trigram")
        out.append([(f"95% covered by {dot.join((*cover, trigrams))}", "text")])
        if neuron.max_activation is not None and neuron.mean_activation is not None:
            values = f"activation max {neuron.max_activation:.3g}{dot}mean {neuron.mean_activation:.3g}"
            out.append([(values, "text")])
        if neuron.threshold is not None:
            share = "" if neuron.positive_share is None else f"{dot}{percent(neuron.positive_share)} of them above 0"
            out.append([(f"{_threshold(neuron)}{share}", "text")])
    else:
        out.append([("its output row still points somewhere: see promoted and suppressed", "dim")])
    return out


def _threshold(neuron: Neuron) -> str:
    """From which value on a neuron counts as activated."""
    if neuron.threshold:
        return f"activated from |a| = {neuron.threshold:.3g} on"
    where = "everywhere" if neuron.expert is None else "wherever its expert is chosen"
    return f"its threshold is 0: it counts as activated {where}"


def _expert(page: PageData) -> list[Part]:
    """Which routed expert the neuron belongs to."""
    return [
        ("of expert ", "text"),
        (str(page.neuron.expert), "bright"),
        (": activated only where that is chosen", "text"),
    ]


def _explained(page: PageData, dot: str) -> list[list[Part]]:
    """How much the token, the tokens before it and the position explain; the token set."""
    neuron = page.neuron
    out: list[list[Part]] = []
    shares = (neuron.token_explained, neuron.bigram_explained, neuron.trigram_explained, neuron.position_explained)
    names = ("token explains", "bigram", "trigram", "position")
    parts: list[Part] = []
    for name, share in zip(names, shares, strict=True):
        if share is not None:
            parts += [(f"{dot if parts else ''}{name} ", "text"), (_share(share), "bright")]
    if parts:
        out.append(parts)
    if neuron.token_set_size:
        f1 = "" if neuron.token_f1 is None else f", f1 {_share(neuron.token_f1)} on other windows"
        words: list[Part] = [(f"token set ({_many(neuron.token_set_size, 'token')}{f1}): ", "text")]
        for token in neuron.token_set:
            words += page.ngram((token,), "token").parts
            words.append((" ", "text"))
        out.append(words)
    return out


def _share(share: float) -> str:
    """`.82`, `1`, `-.03`: two digits after the point."""
    text = f"{share:.2f}"
    return text.replace("0.", ".", 1) if abs(share) < 0.995 else f"{share:.3g}"


def _coverage(page: PageData, dot: str) -> list[Part]:
    neuron = page.neuron
    hits, occurrences = sum(n.count for n in neuron.detected), sum(n.total for n in neuron.detected)
    them = "it" if len(neuron.detected) == 1 else "them"
    part = "is" if len(neuron.detected) == 1 else "are"
    they = "it" if len(neuron.detected) == 1 else "they"
    return [
        ("active at ", "text"),
        (percent(hits / max(occurrences, 1), 1), "bright"),
        (f" of {them}{dot}{they} {part} ", "text"),
        (percent(neuron.covered, 1), "bright"),
        (_base(neuron, neuron.order), "text"),
    ]


def _base(neuron: Neuron, order: int) -> str:
    """What a share of n-grams is of: at BOS, at a window's first positions and in count-only domains there is none."""
    whole = neuron.ngram_activations[order - 1]
    return " of its activations" if whole == neuron.activations else f" of {count(whole, compact=True)} activations"


def _suppression(page: PageData, dot: str) -> list[Part]:
    neuron = page.neuron
    assert neuron.trigger_projection is not None
    verb = "suppresses" if neuron.suppresses_triggers else "promotes"
    parts: list[Part] = [
        (f"{verb} its triggers", "trigger"),
        (f" ({signed(neuron.trigger_projection).strip()})", "text"),
    ]
    lowest = min(neuron.detected, key=lambda ngram: ngram.rank, default=None)
    if neuron.suppresses_triggers and lowest is not None:
        parts.append((dot, "text"))
        parts += page.ngram(lowest.tokens[-1:], "trigger").parts
        rank = "the most suppressed" if lowest.rank == 0 else f"the {ordinal(lowest.rank + 1)} most suppressed"
        parts.append((f" is {rank}", "text"))
    return parts


def _mostly(page: PageData) -> list[Part]:
    neuron = page.neuron
    whole = neuron.ngram_activations[0]
    if not whole:
        bos = neuron.bos_activations
        where = "at BOS only" if bos == neuron.activations else "at BOS and in count-only domains"
        return [(f"activated {where if bos else 'in count-only domains only'}", "text")]
    most = neuron.top_ngrams[0][:4]
    share = sum(ngram.count for ngram in most) / whole
    parts: list[Part] = [(f"{percent(share)}{_base(neuron, 1)} at ", "text")]
    for ngram in most:
        parts += [*page.ngram(ngram.tokens, "bright").parts, (" ", "text")]
    return parts


def _described(page: PageData, dot: str) -> list[Part]:
    """The description by concepts, with its figures on windows that did not choose it, and the runner-up."""
    best, *others = page.neuron.descriptions
    parts: list[Part] = [("described by ", "text")]
    parts += Writer(page.glyphs).prose(formula_text(best.formula, page.concepts), "bright").parts
    figures = f"precision {freq(best.precision).strip()}{dot}recall {freq(best.recall).strip()}"
    parts.append((f"{dot}f1 {freq(best.f1).strip()} ({figures})", "text"))
    for other in others:
        parts.append((f"{dot}then ", "dim"))
        parts += Writer(page.glyphs).prose(formula_text(other.formula, page.concepts), "dim").parts
        parts.append((f" {freq(other.f1).strip()}", "dim"))
    return parts


def _counts(page: PageData, dot: str) -> list[Part]:
    neuron = page.neuron
    text = f"{count(neuron.activations)} of {count(neuron.positions)} positions ({freq(neuron.frequency).strip()})"
    parts: list[Part] = [(text, "text")]
    if neuron.bos_activations:
        parts.append((f"{dot}{count(neuron.bos_activations)} at BOS", "text"))
    return parts


def _domains(page: PageData) -> list[Part]:
    out: list[Part] = []
    for name, share in page.neuron.domain_frequencies:
        out += Writer(page.glyphs).add("  " if out else "").prose(name, "dim").parts
        out.append((f" {freq(share).strip()}", "text"))
    return out
