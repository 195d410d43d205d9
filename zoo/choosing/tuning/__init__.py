"""`zoo tune`: which settings suit a model and labelled items best.

From the ground up; a file imports only what is above it in this list:

    space        what is searched, and which recipe some values are
    storage      a study: trials that several processes share, on a disk or in a database
    bench        one trial: a recipe and how good it is
    search       trial after trial, until there are enough or the time is over
    lessons      what rate, batch size, layers and neurons do
    answer       what was found, with its evidence
    estimate     what accuracy to expect of it
    pictures     importances and slices, drawn
    helpers      more processes on one study
    tuner        from a name and data to the answer
    worker       what a helper's process runs
"""
