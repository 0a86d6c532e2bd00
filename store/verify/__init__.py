"""Does a store hold what was written? Checksums, keys, invariants, and the pages of the file, in a process of its own."""
