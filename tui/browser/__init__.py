"""The main screen: layers, neurons, and the page of the neuron under the cursor.

screen has the keys; their methods are in moves, tasks, narrowing, asking and other_screens, on top of base. panes draws what
state and the session hold, with layer_list and neuron_table; questions are the lines that ask for a text.
"""
