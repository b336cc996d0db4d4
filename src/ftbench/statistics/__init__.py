"""Comparisons of methods over seeds; never imports torch."""
