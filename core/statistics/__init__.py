"""From activation bits to every number of a neuron (DEFINITIONS.md).

tables is what counting needs of the corpus, counts goes through the bits of a layer, kernels and bits are the compiled
loops; arrays joins counts, positional types, projections and similar rows to the arrays of the store.
"""
