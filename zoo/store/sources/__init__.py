"""One file per URL scheme: what a URL of a registry entry stands for."""
