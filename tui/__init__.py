"""Commands, reports and the browser."""
