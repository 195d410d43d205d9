"""Maintenance of the store: verify, prune, take inventory, check the sources."""
