"""The main screen: layers, neurons, and the page of the neuron under the cursor."""
