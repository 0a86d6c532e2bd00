"""Screens that open over the browser, and what they share."""
