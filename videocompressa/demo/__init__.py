"""The demo: a rendered set of videos, and the complete run on it."""
