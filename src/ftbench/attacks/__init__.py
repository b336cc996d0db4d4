"""Attacks on fine-tuned models, one plug-in a file."""
