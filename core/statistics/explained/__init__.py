"""How much of a neuron its token, the tokens before it and its position explain (DEFINITIONS.md): tree is what the loops need
of the corpus, kernel goes over bits and n-grams, code_lengths adds up nats (both compiled).
"""
