"""Questions to a store.

Neurons: columns, filter (with filter_terms, filter_completion) and select. Sets of positions: positions (with position_terms,
query_completion), ask, contexts. Searches: detector_index, projection_index and trigger_index, by a pattern.
"""
