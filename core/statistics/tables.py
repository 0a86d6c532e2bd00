"""What counting needs of the corpus, made once per run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ffnscope.core.corpus.windows import Corpus
from ffnscope.core.statistics import kernels
from ffnscope.core.statistics.concept_kernel import EvenSets, OddSets
from ffnscope.core.statistics.explained.code_lengths import Tree
from ffnscope.core.statistics.explained.tree import make_tree
from ffnscope.core.statistics.ngrams import NgramTable, halve, ngram_tables
from ffnscope.core.statistics.suffix_order import SuffixOrder, make_suffix_order
from ffnscope.store.errors import UserError

MOST_POSITIONS = 1 << 31  # counters are int32


@dataclass(frozen=True)
class CorpusTables:
    """What counting needs of the corpus, made once per run.

    ``edges`` [D + 1] int64: domain d is the windows edges[d] .. edges[d + 1] - 1; the first ``counted`` domains
    count towards every statistic and ``ngrams`` covers just their windows. ``bos`` [S, B] uint8: bits of the
    positions whose token is BOS. ``concepts`` are those of the even and the odd kept windows, None where none are kept.
    """

    seq_len: int
    edges: np.ndarray
    counted: int
    ngrams: tuple[NgramTable, NgramTable, NgramTable]
    bos: np.ndarray
    concepts: tuple[EvenSets, OddSets] | None = None

    @cached_property
    def orders(self) -> tuple[kernels.Ngrams, ...]:
        """The n-grams of n = 1, 2, 3 as the kernels count them."""
        halves = halve(self.ngrams)
        return tuple(
            kernels.Ngrams(slots, table.ids.reshape(-1), repeated, table.totals, even, odd)
            for table, (slots, repeated), even, odd in zip(
                self.ngrams, (table.slots() for table in self.ngrams), halves.even, halves.odd, strict=True
            )
        )

    @cached_property
    def tree(self) -> Tree:
        """The n-grams by which odd windows are predicted from even ones."""
        orders = self.orders
        return make_tree(self.ngrams, tuple(order.even for order in orders), tuple(order.odd for order in orders))

    @cached_property
    def suffix_order(self) -> SuffixOrder:
        """The order of the positions in which those of every n-gram lie side by side."""
        return make_suffix_order(self.ngrams, self.orders, self.tree)

    @property
    def counted_windows(self) -> int:
        """S of n-grams and position curves."""
        return int(self.edges[self.counted])


def make_tables(corpus: Corpus, concepts: tuple[EvenSets, OddSets] | None = None) -> CorpusTables:
    """What counting needs of the corpus; n-grams over the windows of the domains that are not count-only.

    Raises UserError where these have 2**31 positions or more.
    """
    edges = np.array([0, *np.cumsum([domain.windows for domain in corpus.domains])], np.int64)
    counted = sum(not domain.count_only for domain in corpus.domains)
    windows = int(edges[counted])
    if windows * corpus.seq_len >= MOST_POSITIONS:
        raise UserError(
            f"{windows * corpus.seq_len:,} positions are more than can be counted by n-gram ({MOST_POSITIONS - 1:,}); lower "
            "--max-tokens, or give further domains as --count-only"
        )
    is_bos = np.zeros(corpus.tokens.shape, bool) if corpus.bos_id is None else corpus.tokens == corpus.bos_id
    return CorpusTables(
        seq_len=corpus.seq_len,
        edges=edges,
        counted=counted,
        ngrams=ngram_tables(corpus.tokens[:windows], corpus.bos_id, corpus.vocabulary_size),
        bos=np.packbits(is_bos, axis=1, bitorder="little"),
        concepts=concepts,
    )
