"""The engine behind the front: admitted frames in, answers out."""
