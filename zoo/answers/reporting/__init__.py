"""One page about a run: what it learned from what, how good it is, where it fails, how to repeat it.

From the ground up; a file imports only what is above it in this list:

    drawing          figures as SVG that takes the colours of the page
    certainty        how far probabilities can be believed
    repeating        the command that makes the run again
    data_view        the run's own data as the pretrained network sees them
    sections         what the page shows, as plain values
    plots            the pictures of the page, each alone
    page             the page written
"""
