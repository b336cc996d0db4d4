"""What a method file imports: the contract between methods and the training loop, under one name."""

from ftbench.training.method import Context, Cost, Method, PriorFacts, State

PLUGIN_BASE = Method

__all__ = ["PLUGIN_BASE", "Context", "Cost", "Method", "PriorFacts", "State"]
