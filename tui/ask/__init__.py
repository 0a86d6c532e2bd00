"""Questions to the kept bits: ranking lists the neurons that fire on a set of positions, concordance all positions of one
neuron; query_line asks for a query."""
