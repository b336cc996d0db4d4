"""Combining weights tensor by tensor: opening ingredients, checking them, merging, and writing what comes out."""
