"""Complete runs as typed functions that print nothing: what stands behind each verb of the command line.

`options` what a user can ask for, `settings` (`--set name=value`), `data` (candidates of a folder), `budgets` (which
VPC and K an asked budget gives), and the runs: `plan`, `compress`, `train`, `sets` (open, decode), `export`,
`finetune` (with `phases`, and `shown` for what the model is shown), `figure3`, `bench`, `demo`.

Nothing is imported here, so that `options` can be had without torch: the command line's help needs no more.
"""
