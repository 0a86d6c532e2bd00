"""Does a store hold what was written? check asks for everything: pages of the file, expected_keys, kept_bits, invariants;
isolated does so in a process of its own, which a damaged file may end."""
