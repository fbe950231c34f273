"""A digital spine phantom: radiographs with known truth, from a seed."""
