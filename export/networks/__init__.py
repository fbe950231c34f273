"""The networks, written for export: tensors in, tensors out, standard operators."""
