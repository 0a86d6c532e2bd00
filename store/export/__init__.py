"""CSV and JSON lines: write for neurons, answers for rankings and contexts; cells and float_text are their values as text."""
