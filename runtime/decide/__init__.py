"""Network outputs to a verdict: pure functions of frozen data."""
