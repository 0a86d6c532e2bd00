"""Kept activation bits: kept says where they stand in the corpus, window_text is the text around them, column_sums counts how
often neurons fire in sets of them."""
