"""Features of many photographs by workers of Daft, from folders or storage: `zoo embed --engine daft`.

From the ground up; a file imports only what is above it in this list:

    places         where photographs come from and features go
    faults         what Daft raises, as errors of ours
    photographs    what lies in a folder or below an address, with labels and parts
    review         whether what was written is what was asked for
    engine         workers, and the way from photographs to files
"""
