"""The words and numbers of the definitions, each of them here and nowhere else.

They are those of Voita, Ferrando, Nalmpantis, "Neurons in Large Language Models: Dead, N-gram, Positional" (2023), called "the
paper" below; "ours" marks what the paper leaves open. core/DEFINITIONS.md says what every number of a store means.
The tuples of words are in the order of the codes that a store keeps: a word's place is its code.
"""

from __future__ import annotations

KINDS = ("dead", "token", "bigram", "trigram", "positional", "other")
ORDERS = ("", "token", "bigram", "trigram")  # of a detector: 0 for none, 1, 2, 3
POSITION_TYPES = ("", "oscillatory", "both", "one", "other")  # paper, Figure 7
POSITION_STRENGTHS = ("", "weak", "strong")

# "Covers 95%" (paper 4.1, 4.2) is decided in integers: 100 * part >= 95 * whole.
WHOLE_PERCENT, COVERED_PERCENT = 100, 95
# A detector of order n is covered by at most this many n-grams (paper 4.2 and A.2: 5 and 50; ours: 20).
MOST_COVERING = (5, 20, 50)
# An n-gram is detected only where the data hold it so often (ours; the paper's own rule is 1). Each run keeps its choice.
MIN_OCCURRENCES = 5
# Tokens in the lists of promoted and suppressed ones (paper 4.4). Each run keeps its choice.
TOP_K = 50
# A neuron is positional where its mutual information with position exceeds its bias by more (paper 5.1; ours: the bias).
POSITIONAL_NATS = 0.05
# With fewer windows that information is mostly chance (ours).
FEW_WINDOWS = 100
# GB of activation bits that a run keeps in its store, unless told otherwise.
KEEP_GB = 1.0
# Effects are measured on kept windows of about this many tokens.
TESTED_TOKENS = 65_536
# What a neuron that is taken away is set to: 0, or its mean over the kept positions.
ABLATION_MODES = ("zero", "mean")
# What the odd windows say of a detector that was found on the even ones (ours): the codes of a store's `split_held`.
SPLIT_TOO_RARE, SPLIT_FAILS, SPLIT_HOLDS = 0, 1, 2
