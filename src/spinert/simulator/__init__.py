"""The scheduler on a virtual clock: many accelerators, thousands of devices."""
