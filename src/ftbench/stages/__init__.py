"""The stages of the graph, one module each, run by `ftbench.stage`."""
