"""Synthetic sets for video-language models: folders that trainers read, and fine-tuning.

Both use `names` and `questions` (classes and what is asked, in words). Export: `items` (the keyframes of one video),
`formats` with `tables` and `shards` (folders), `checks` with `schemas` and `faults` (reading one as its trainer would).
Fine-tuning: `settings`, `families` and `processor` (frames and text as tokens), `models` (loading), `clips` (what is
shown), `adapting` (what is trained), `finetune` with `checkpoint`, `metrics` and `team`, `scoring` (judging).
"""
