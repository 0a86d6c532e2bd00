"""A document as terminal text, as an HTML page with SVG plots, or as CSV and JSON files; values are its cells as text."""
