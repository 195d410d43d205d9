"""A folder or a table becomes labelled items, splits, decoded images."""
