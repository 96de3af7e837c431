"""`callbox top`: what is read, what becomes of two readings, the page, and the terminal that shows it."""
