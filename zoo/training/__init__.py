"""Training: what a run should be like, and the loop that one can read.

From the ground up; a file imports only what is above it in this list:

    intervals        how sure an accuracy is
    calibration      how far probabilities can be believed
    interruption     Ctrl-C asks for an end after the step
    time_limit       how long training may take
    seeds            where chance starts, and the user's own generators kept
    optimizers       the optimizers by name
    sampling         which items an epoch shows
    schedules        how the learning rate moves
    task             what is learned, how it is measured
    single_label     one class per item
    multi_label      any number of classes
    regression       numbers
    tasks            the rows by name
    stopping         when to stop, and which epoch was the best
    recipe/          every knob of a run, its default and its rules
    recipe_file      a recipe as a file
    ready_recipes    the recipes that come with zoo
    suggestion       which strategy suits the items
    strategies       the phases of a recipe
    stages           what a recipe trains of a network
    device           where to compute
    ranks            which of several processes this one is
    mixing           images mixed with each other
    batches          items in batches
    processes        the processes of a run, and what they agree on
    batch_norms      statistics of a batch that several processes share
    averaging        a moving average of the weights
    sharding         a network in parts on several processes
    compiling        a network as torch.compile makes it
    machine          a device and its steps
    moment           what a forward pass changes, to be put back
    halves           frozen stages by a faster copy, the rest as it learns
    keeping          validation items as the layers that learn get them
    memory           how much of it was taken
    pace             how fast steps are made
    losses           what training minimises
    metrics          how good it is
    phase_state      a phase of training as one value: begin, save, load
    steps            forward and backward, in parts
    looking_on       what is reported between two steps
    faults           how a phase ends when something goes wrong
    loop             the loop
"""
