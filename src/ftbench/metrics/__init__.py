"""Measures of stored predictions, plug-ins found by folder."""
