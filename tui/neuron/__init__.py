"""The page of one neuron: its data, what is said of it, its sections."""
