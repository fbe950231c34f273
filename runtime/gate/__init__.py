"""The gate: proof that networks answer right on this machine, before they serve."""
