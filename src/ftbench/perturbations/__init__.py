"""Perturbations of evaluation texts, one plug-in a file."""
