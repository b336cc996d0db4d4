"""Recipes that turn several checkpoints into one, one plug-in a file."""
