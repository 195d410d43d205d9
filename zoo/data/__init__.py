"""A folder or a table becomes labelled items, splits, decoded images.

From the ground up; a file imports only what is above it in this list:

    kinds, names     kinds of items; names of files and classes
    once             what one command reads once
    containers       files inside a zip or a table, read in place
    file_systems     whose stamps can be trusted
    hash_segments    files of hashes by stamp
    hashes           hashes of files that were read before
    contents         what is in a file, by hash
    replaced         files that hold something else than they did
    dataset          labelled items and their parts
    splits           training, validation and test parts
    grouping         items that must lie in one part: one patient, one video
    finding/         the layout of a folder, the columns of a table
    listing          the files that a user names, alone or by their folder
    texts            labelled texts
    targets          several classes of an item, or its numbers
    trained          what a run was trained on, found again by content
    scanning         a folder or a table becomes a dataset
    leaks            copies across the parts
    pixels/          image files become batches of tensors
"""
