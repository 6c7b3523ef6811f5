"""Folders of keyframes for trainers: `items` of a set, their `formats`, and their `check` with `rows`."""
