"""N-grams counted on a GPU (device_counts), bits put in their order there (device_order), and what is left to the host of them
(complete_kernel)."""
