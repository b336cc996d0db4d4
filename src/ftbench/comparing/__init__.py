"""Rows of the tables `comparisons` and `standings`, from scores and stored predictions."""
