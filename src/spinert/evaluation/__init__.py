"""Accuracy of a bundle on annotated radiographs, as the paper measures it."""
