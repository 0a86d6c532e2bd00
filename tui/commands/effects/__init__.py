"""Commands that run a store's model again, to see what its neurons do to the prediction."""
