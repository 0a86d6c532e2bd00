"""Screens that open over the browser, a file each.

contexts, distribution, experts, help, position, search, side_by_side; lists to choose from: filter_history, saved_filters,
sort_picker. pager is the base of full screens, input_line that of lines that ask for a text; bindings are their keys.
"""
