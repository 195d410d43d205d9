"""One URL becomes one verified partial file."""
