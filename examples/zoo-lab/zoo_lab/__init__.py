"""An example of a package that extends transfer-zoo: see source.py and networks.py."""
