"""What goes to the terminal and what comes from it; the only place that knows Textual's insides (textual_private).

screen_diff sends only the cells that changed, scroll_diff lets the terminal move whole lines; replies keeps the terminal's
answers from being taken for keys.
"""
