"""The engine of adversarial attacks: words of a text, rankings, the greedy search, batches over many examples."""
