"""Models that are more, or stored otherwise, than a causal LM's own weights: LoRA and other adapters (adapter), quantised
checkpoints (quantised), and vision-language wrappers with a language model inside (text_part); and how mixtures of experts
are computed (expert_kernels; every_token: experts that all run for every token) and where their gates are (expert_gates).
"""
