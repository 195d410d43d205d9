"""What tests of several rooms use, imported as `from support.loopback import Server`."""
