"""What is being looked at, as plain objects that know no terminal.

session is one open store, neuron_list its list as filtered and sorted, distribution a column's bars; config is the user's,
remembered what is kept between runs. task and background are work in threads, gc_pause keeps it from stopping the screen.
"""
