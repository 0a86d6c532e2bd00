"""A causal LM, run one layer at a time with the same result as the forward pass, to the bit.

source         a folder, a hub id or a .gguf file: configuration, files, fingerprint (hub: downloads; files/: what is there)
shape          layers, neurons and sizes from the configuration alone
tokenizer      the model's tokenizer; token_texts: the text that each token id stands for
checkpoint     weights on disk, one tensor at a time
load           all weights at once; offload: those of one group of layers at a time
layered        runs one layer at a time (layer_gate stands in for layers while the rest of the model runs)
ffn            finds the FFN of a layer by its structure; experts: those of a mixture (host_experts: larger than a GPU)
device         device and dtype; numerics: full precision
variants/      what is more than a model's own weights: adapters, quantised checkpoints, wrappers
"""
