"""The run folder: made by fine-tuning, then loaded to predict, evaluate and embed.

From the ground up; a file imports only what is above it in this list:

    versions         the versions that a run may depend on
    record           run.json
    listing          the runs below a folder, a line each
    calibration      calibration.json
    folder           the files of a run, written whole and read verified
    baseline         what guessing reaches
    plan             what is decided before torch is imported
    answers          what a network is asked about, and what it answers
    joining          what several processes computed, as one has it
    review           a look at the items before they are trained on
    session          what the steps of training hand to each other
    classifier       a trained network with its labels
    modalities/      images | texts
    using/           predict, evaluate, embed
    run              the public handle of a run
    workers          a network as a function of photographs, for other processes and machines
    daft/            features of many photographs by workers of Daft, from folders or storage
    making/          fine-tuning: from a name and a folder to a run
    demo             fine-tuning on digits, offline
"""
