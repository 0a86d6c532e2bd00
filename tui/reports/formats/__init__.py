"""A document as terminal text, HTML, SVG or files."""
