"""The words of the definitions, in the order of the codes that the store keeps."""

from __future__ import annotations

KINDS = ("dead", "token", "bigram", "trigram", "positional", "other")
POSITION_TYPES = ("", "oscillatory", "both", "one", "other")
POSITION_STRENGTHS = ("", "weak", "strong")
ORDERS = ("", "token", "bigram", "trigram")
