"""Typed configuration: studies, data-set entries, model entries."""
