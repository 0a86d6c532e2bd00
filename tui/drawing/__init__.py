"""Styled lines as data: text, numbers, charts, curves, and the pane that shows them."""
