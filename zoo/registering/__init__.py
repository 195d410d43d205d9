"""`zoo registry add`: a file, a URL or a file of the Hub becomes a registry entry."""
