"""Questions to the kept bits: the neurons that fire on a set of positions, and all positions of one neuron."""
