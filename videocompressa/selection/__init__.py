"""Selection: which frames and which videos are kept, the first half of the paper."""
