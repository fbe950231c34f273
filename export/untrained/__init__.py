"""Seeded weights that behave like trained ones, one module per family."""
