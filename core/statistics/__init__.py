"""From activation bits to every number of a neuron (DEFINITIONS.md).

ngrams           an id per position for its unigram, bigram and trigram; tables: what counting needs of the corpus
counts           counts a layer, its neurons in blocks over threads
kernels, bits    the counting loops (compiled)
suffix_order     an order of positions in which those of every n-gram are neighbours; suffix_kernel counts along it (compiled)
device/          the same counts on a GPU
explained/       how much of a neuron its token, the tokens before it and its position explain
concepts         descriptions by formulas of concepts; concept_kernel searches for them (compiled)
positional       mutual information with the position; types and strengths (position_ranges: where a stored neuron is on)
projection       promoted and suppressed tokens; similarity: similar and opposed output rows; row_extremes: both use it
arrays           all of it as the arrays of the store
"""
