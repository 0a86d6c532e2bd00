"""From text to windows: sources are read as documents, tokenised, and cut into windows of equal length.

sources -> documents (text, tables, window_files) -> tokens -> windows; build does all of it, cache keeps the result.
"""
