"""Verify, prune, take stock, and ask the sources whether they still answer."""
