"""Schemas of the result tables, and the only code that writes and reads them."""
