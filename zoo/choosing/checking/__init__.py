"""Is the data good: every check is a row in a table, and looks at evidence that was gathered once.

From the ground up; a file imports only what is above it in this list:

    copies           which items are the same, or nearly
    evidence         the data set, what its items look like, what a model sees in them
    finding          what a check found
    copy_checks      of items that are the same
    image_checks     of image files
    text_checks      of texts
    class_checks     of classes and their sizes
    label_checks     of labels, by what a model sees
    table            every check there is
    gathering        the evidence of a folder or table
    checker          the door: zoo.check
    manifest         the data set without what is wrong, as a table
    page             the findings with their pictures, as HTML
"""
