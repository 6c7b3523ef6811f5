"""The page of a set: what is in it, what it costs and how well it teaches, as one HTML file."""
