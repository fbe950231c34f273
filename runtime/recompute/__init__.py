"""Compute a frame again by another way where a network's own did not settle."""
