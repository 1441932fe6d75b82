"""Comparison of methods: the same games, warm start and budget for each, over several seeds."""
