"""ftbench: a benchmark of fine-tuning methods as one Snakemake graph."""
