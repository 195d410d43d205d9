"""Is the data good, which model, which settings: answered from what frozen models see in the data.

From the ground up; a file imports only what is above it in this list:

    data_kind        whether data are images or texts
    item_features    what a frozen model sees in every item of a data set
    folds            items that are asked about by a model that has not seen them
    checking/        is the data good
    pictures         figures without a screen
    picking/         which model
    rates/           which learning rate
    tuning/          which settings
"""
