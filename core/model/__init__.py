"""A causal LM, layer by layer: find it (source, hub), read its weights (checkpoint, load, offload), find the FFN of
each layer (ffn) and run layers one at a time, equal to the forward pass to the bit (layered). variants/ has what is more than a
model's own weights.
"""
