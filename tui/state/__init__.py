"""What is being looked at: the open stores, the list of neurons, settings."""
