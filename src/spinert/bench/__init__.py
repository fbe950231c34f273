"""Where the time of a frame goes, measured so that others can check it."""
