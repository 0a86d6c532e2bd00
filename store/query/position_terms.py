"""The terms of a query, each a set of kept positions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import regex

from ffnscope.store.bits.kept import KeptBits
from ffnscope.store.bits.window_text import SECONDS, SlowRegexError
from ffnscope.store.concepts.rules import BY_NAME
from ffnscope.store.concepts.text_positions import TextPositions
from ffnscope.store.query.pattern import Pattern, matching_tokens

Proceed = Callable[[], None]


class TermError(Exception):
    """What is wrong with a term, found when its positions are looked for."""


class PositionTerm:
    """One term of a query."""

    def members(self, kept: KeptBits, proceed: Proceed) -> np.ndarray:
        """[P] bool: the kept positions that the term holds at. ``proceed`` is called now and then; what it raises ends the
        work. Raises TermError, and UserError where the store is damaged."""
        raise NotImplementedError


@dataclass(frozen=True)
class Without(PositionTerm):
    """Where another term doesn't hold."""

    term: PositionTerm

    def members(self, kept: KeptBits, proceed: Proceed) -> np.ndarray:
        return ~self.term.members(kept, proceed)


@dataclass(frozen=True)
class Text(PositionTerm):
    """Tokens that hold a character of a match in the window's text; ``last_only``: its last character."""

    patterns: tuple[regex.Pattern[str], ...]
    last_only: bool

    def members(self, kept: KeptBits, proceed: Proceed) -> np.ndarray:
        members = np.zeros(kept.positions, np.bool_)
        for pattern in self.patterns:
            try:
                members |= kept.of_windows(kept.texts.matches(pattern, self.last_only, proceed))
            except SlowRegexError:
                raise TermError(
                    f"the regular expression takes more than {SECONDS:g} s in one window; repetitions inside repetitions, as "
                    "in (a+)+, do that"
                ) from None
            except (MemoryError, RecursionError, regex.error) as error:
                raise TermError(f"the regular expression cannot be searched for ({type(error).__name__})") from None
        return members


@dataclass(frozen=True)
class Token(PositionTerm):
    """Tokens whose text a pattern fits; ``back`` = 1: positions after such a token, in its window."""

    patterns: tuple[Pattern | regex.Pattern[str], ...]
    back: int = 0

    def members(self, kept: KeptBits, proceed: Proceed) -> np.ndarray:
        vocabulary = kept.store.vocabulary
        fits = np.zeros(vocabulary.size + 1, np.bool_)
        for pattern in self.patterns:
            if isinstance(pattern, Pattern):
                fits |= matching_tokens(vocabulary, pattern)
            else:
                ids = np.unique(kept.tokens)
                proceed()
                fits[ids] |= _searched(pattern, vocabulary.texts(ids.tolist()), proceed)
        places = fits[np.minimum(kept.tokens, vocabulary.size)]
        if self.back:
            places[:, self.back :] = places[:, : -self.back]
            places[:, : self.back] = False
        return kept.of_windows(places)


def _searched(pattern: regex.Pattern[str], texts: list[str], proceed: Proceed) -> list[bool]:
    matches = []
    try:
        for index, text in enumerate(texts):
            if index % 1024 == 0:
                proceed()
            matches.append(pattern.search(text, timeout=SECONDS, concurrent=True) is not None)
    except TimeoutError:
        raise TermError(f"the regular expression takes more than {SECONDS:g} s in one token's text") from None
    except (MemoryError, RecursionError, regex.error) as error:
        raise TermError(f"the regular expression cannot be searched for ({type(error).__name__})") from None
    return matches


@dataclass(frozen=True)
class Domains(PositionTerm):
    """Positions of windows of several domains, by name."""

    names: tuple[str, ...]

    def members(self, kept: KeptBits, proceed: Proceed) -> np.ndarray:
        in_domain = np.zeros(len(kept.windows), np.bool_)
        for domain in kept.store.run.corpus.counted_domains:
            if domain.name in self.names:
                first = domain.first_window
                in_domain |= (kept.windows >= first) & (kept.windows < first + domain.windows)
        return in_domain[kept.window_of]


@dataclass(frozen=True)
class Places(PositionTerm):
    """Positions of the window within one of several ranges, both ends included."""

    ranges: tuple[tuple[int, int], ...]

    def members(self, kept: KeptBits, proceed: Proceed) -> np.ndarray:
        place = kept.position_of
        return np.logical_or.reduce([(place >= low) & (place <= high) for low, high in self.ranges])


@dataclass(frozen=True)
class Labels(PositionTerm):
    """Positions inside spans of several labels."""

    names: tuple[str, ...]

    def members(self, kept: KeptBits, proceed: Proceed) -> np.ndarray:
        unknown = [name for name in self.names if name not in kept.labels]
        if unknown:
            known = ", ".join(kept.labels) or 'none: lines of the corpus may hold "spans": [[start, end, "label"], ...]'
            raise TermError(f"no label {unknown[0]!r} in this store; there are {known}")
        return np.logical_or.reduce([kept.label(name) for name in self.names])


@dataclass(frozen=True)
class Concepts(PositionTerm):
    """Positions of several concepts."""

    names: tuple[str, ...]

    def members(self, kept: KeptBits, proceed: Proceed) -> np.ndarray:
        members = np.zeros(kept.positions, np.bool_)
        domains = {f"domain:{domain.name}": domain.name for domain in kept.store.run.corpus.counted_domains}
        for name in self.names:
            proceed()
            if name in domains:
                members |= Domains((domains[name],)).members(kept, proceed)
            elif name in BY_NAME:
                members |= kept.of_windows(BY_NAME[name].positions(_surroundings(kept)))
            else:
                raise TermError(f"no concept {name!r}; there are {', '.join([*BY_NAME, *domains])}")
        return members


def _surroundings(kept: KeptBits) -> TextPositions:
    """What stands before each kept token, made once."""
    positions = kept.memory.get("surroundings")
    if positions is None:
        vocabulary, bos_id = kept.store.vocabulary, kept.store.run.corpus.bos_id
        positions = kept.memory["surroundings"] = TextPositions(kept.tokens, bos_id, vocabulary.text, vocabulary.whole)
    return positions


@dataclass(frozen=True)
class Activated(PositionTerm):
    """Positions at which any of several neurons (layer, neuron) is activated."""

    neurons: tuple[tuple[int, int], ...]

    def members(self, kept: KeptBits, proceed: Proceed) -> np.ndarray:
        members = np.zeros(kept.positions, np.bool_)
        layers = kept.store.layers()
        for layer, neuron in self.neurons:
            if layer not in layers:
                raise TermError(
                    f"no layer {layer} in this store; there are {', '.join(map(str, layers)) or 'none yet'}"
                )
            if neuron >= kept.store.neurons(layer):
                raise TermError(f"no neuron {neuron} in layer {layer}; it has 0 to {kept.store.neurons(layer) - 1}")
            proceed()
            members |= kept.neuron(layer, neuron)
        return members
