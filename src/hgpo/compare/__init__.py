"""Comparison of methods: all get the same tasks, warm start and budget, over several seeds."""
