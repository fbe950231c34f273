"""The gRPC front: identity, limits, order and the life of the process."""
