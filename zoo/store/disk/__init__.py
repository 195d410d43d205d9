"""What lies in $ZOO_HOME, and how it is written."""
