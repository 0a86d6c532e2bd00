"""Windows through the model: which neuron is activated where, as bits on disk.

forward            groups of layers, each over all windows
budget             layers per group, and where hidden states are kept between groups
hidden_states      what passes from one group to the next, in files or in memory
recorder           a hook on an activation function: bits, sums, maxima and the strongest activations
recorder_kernel    the same on a CPU, in one pass over the activations (compiled)
thresholds         with --activated share:Q, the threshold of each neuron
threshold_recorder recorders that compare with these thresholds
mixture            a layer of a mixture of experts: its shared experts and its routed ones as one layer
routed             recording routed experts (routed_kernel: on a CPU, compiled; routed_scratch: their files)
scratch            the files of a group: bits of its layers, hidden states (scratch_folder: where they lie, locked)
side_stream        work on a GPU beside the model
malloc             freed memory is kept for the next layer on a CPU
"""
