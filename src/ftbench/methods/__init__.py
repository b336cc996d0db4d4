"""Fine-tuning methods, one plug-in a file."""
