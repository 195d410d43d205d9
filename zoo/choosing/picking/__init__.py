"""`zoo pick`: which model suits labelled items best.

From the ground up; a file imports only what is above it in this list:

    clock         the minutes that there are
    probe         what a linear probe says of items that it has not seen
    significance  which differences are real, and what the best of several is worth
    candidates    which models take part, and why the others do not
    contest       more and more items for fewer and fewer models
    costs         milliseconds for an item
    choice        the answer: a ranking with its evidence
    picture       accuracy against time, drawn
    picker        from a name and data to the answer
"""
