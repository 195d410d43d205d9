"""Models and runs packed into one file, and unpacked from it."""
