"""Bytes: where they come from, how they are proven, where they are kept."""
