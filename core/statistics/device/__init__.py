"""N-grams counted on a GPU (device_counts), and what is left to the host of them (complete_kernel)."""
