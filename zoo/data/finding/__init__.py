"""Where labelled items come from: folders, tables."""
