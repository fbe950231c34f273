"""Training of the reference networks on phantoms. Needs torch."""
