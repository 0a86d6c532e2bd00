"""Screens that open over the browser, a file each.

pager is the base of full screens, input_line that of lines that ask for a text; bindings are what all of them say of their
keys.
"""
