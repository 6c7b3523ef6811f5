"""Fine-tuning: `run` (with `clips`, `models`, `train` and `evaluate`), and the paper's `figure3`."""
