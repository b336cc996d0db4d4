"""The training loop and what it needs: models, batches, schedule, checkpoints."""
