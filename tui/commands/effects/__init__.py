"""Commands that run a store's model again: ablate takes neurons away, causal does so for a report."""
