"""Analysis of the groups of a rollout and of the advantages computed from them."""
