"""What surrounds a run: what was asked for (request), what run it is (identity), its corpus and store, how far it is
(progress), what runs beside it (overlap), and how it is stopped (signals).
"""
