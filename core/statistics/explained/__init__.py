"""How much of a neuron its token, the tokens before and its position explain (DEFINITIONS.md)."""
