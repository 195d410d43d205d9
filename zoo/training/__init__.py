"""Training: what a run should be like, and the loop that one can read.

From the ground up; a file imports only what is above it in this list:

    interruption     Ctrl-C asks for an end after the step
    seeds            where chance starts
    optimizers       the optimizers by name
    schedules        how the learning rate moves
    tasks            what is learned, how it is measured
    stopping         when to stop, and which epoch was the best
    recipe/          every knob of a run, its default and its rules
    strategies       the phases of a recipe
    stages           how deep a recipe unfreezes a network
    device           where to compute
    machine          a device and its steps
    batches          items in batches
    losses           what training makes small
    metrics          how good it is
    loop             the loop
"""
