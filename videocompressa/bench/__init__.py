"""The benchmark: every method at every budget under one protocol, cell by cell."""
