"""What goes to the terminal: only what changed on the screen. The only place that knows Textual's insides."""
