"""What a run knows, where it fails, and when not to believe it: answers for people, made from a run folder.

From the ground up; a file imports only what is above it in this list:

    calibrating      how far a run's answers can be believed, learned from items that it has not seen
    judged           what a run answers about labelled items
    comparing        runs held against each other on the same items
    changes_page     the same as a page, with pictures
    explaining/      why a network answers as it does: maps of photographs, weights of words, items alike
    novelty          which items are unlike all that a run was trained on
    reporting/       one page about a run
    run              the public handle of a run, with its answers
"""
