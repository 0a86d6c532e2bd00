"""The store's model on a text of one's own."""
