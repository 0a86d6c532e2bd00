"""The page of one neuron: its data, its sentences, its sections."""
