"""The features of each item, computed once by a frozen backbone and kept."""
