"""Concepts: named sets of positions that the text to the left decides (rules), and neurons' descriptions by them.

text_positions is what the rules know of a position, word_lists the words that some of them look for.
"""
