"""Rows: reading sources, labels by name, splits, tokenisation, generated language."""
