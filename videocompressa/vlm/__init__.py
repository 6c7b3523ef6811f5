"""Synthetic sets for video-language models: class names and questions in words, and folders that trainers read."""
