"""Engines: networks compiled for one GPU, and the cache that keeps them."""
