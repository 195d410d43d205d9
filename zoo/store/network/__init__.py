"""The download of one URL into one verified partial file."""
