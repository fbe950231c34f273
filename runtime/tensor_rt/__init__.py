"""Running engines of the TensorRT family on a device: the work behind the backend."""
