"""Policies: causal language models that sample completions and score them."""
