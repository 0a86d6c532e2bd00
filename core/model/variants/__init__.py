"""Models that are more, or stored otherwise, than a causal LM's own weights: adapters, quantised checkpoints, and
vision-language wrappers with a language model inside (text_part); and how mixtures of experts are computed (expert_kernels).
"""
