"""Which learning rate: a short training at growing rates, and what its losses suggest.

From the ground up; a file imports only what is above it in this list:

    curve        losses at growing rates, smoothed, and the rules that read a rate off them
    rate_range   the test on a phase, which is afterwards as it was before
    finder       from a model and data to a suggestion
    picture      the curve, drawn
"""
