"""Images to network inputs, bit for bit as the networks were trained."""
