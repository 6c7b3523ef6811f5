"""Matching: synthetic clips tuned until networks respond to them as to real ones."""
