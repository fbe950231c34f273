"""The constancy test of a running appliance: fixed phantoms, stored limits."""
