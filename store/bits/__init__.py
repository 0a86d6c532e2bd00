"""Kept activation bits: where they stand in the corpus, the text around them, and how often neurons fire in sets of them."""
