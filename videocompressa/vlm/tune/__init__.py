"""Fine-tuning: `run` of `phases` (`clips`, `models`, `adapters`, `train`, `evaluate`), and the paper's `figure3`."""
