"""Windows through the model: which neuron is activated where, as bits on disk.

forward runs groups of layers over all windows, recorder is the hook that records them, scratch the files they go to;
hidden_states keeps what passes from one group to the next, in files or in memory; side_stream copies from a GPU beside the
model; budget chooses how many layers run per group, and where hidden states are kept.
"""
