"""The demo: a rendered set of videos, and the whole run on it."""
