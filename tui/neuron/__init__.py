"""One neuron's page: data is what it shows, page its layout, sentences and sections what stands in it, related the neurons
that have to do with it."""
