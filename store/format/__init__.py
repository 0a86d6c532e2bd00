"""The bytes of a store, as FORMAT.md tells: keys, encodings, the schema of a layer, limits, the LMDB environment."""
