"""Folders of keyframes for trainers: `items` of a set, `formats` with `tables`, and their `check` with `rows`."""
