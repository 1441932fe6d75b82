"""Bridges to training stacks; each module needs its stack installed, and importing hgpo loads none."""
