"""Synthetic sets for video-language models: folders that trainers read (`export`), and fine-tuning (`tune`).

Both use `words` (class names and questions) and `settings` (what a user can ask for).
"""
