"""The Open Inference Protocol, version 2: the same engine for tools that speak it."""
