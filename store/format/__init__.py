"""The bytes of a store, as FORMAT.md tells.

schema lists the arrays of a layer, encoding packs them under the keys of keys; neuron_record, meta_pages and kept_bits are the
other values. environment opens LMDB, lock keeps a second writer out, limits refuses what cannot be true.
"""
