"""Why a network answers as it does: maps of photographs, weights of words, the nearest training items."""
