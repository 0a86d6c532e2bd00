"""A document as text for a terminal (terminal), as an HTML page (html) with plots (svg), or as CSV and JSON files (files);
values are its cells as text.
"""
