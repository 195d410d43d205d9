"""What a frozen backbone says about each item, computed once and kept."""
