"""Styled lines as data, and the pane that shows them.

lines and text make them, from glyphs, with numbers as short text; bar_charts and curves are plots, palette the colours,
scroll the first row in view.
"""
