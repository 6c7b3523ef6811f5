"""Distribution and trajectory matching."""
