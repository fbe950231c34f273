"""Frames to images; everything hostile is met here, in confined processes."""
