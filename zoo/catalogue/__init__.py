"""What models there are: typed entries, the registry files they come from, and finding one by name."""
