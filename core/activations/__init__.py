"""Windows through the model: which neuron is activated where, as bits on disk.

forward runs groups of layers over all windows, recorder is the hook that records them, scratch the files they go to;
budget chooses how many layers run per group.
"""
