"""Complete runs as typed functions that print nothing: the work of each verb of the command line.

`options` (what a user can ask for), `settings` (`--set name=value`), `data` (candidates of a folder) and `budgets`
serve the runs: `plan`, `compress`, `train`, `keyframes`, `push` (and pull; its `data_card`), `contact_sheet` and `sets`
(open, decode).
Nothing is imported here: help needs `options` without torch.
"""
