"""One cell as a plain script with the Trainer of transformers: fine-tune, evaluate on every set, save.

`study_vs_scripts.py` calls it in a shell loop, one process a cell. It stands for what one writes without this
package, so it uses nothing of it; padding, grouping and precision are the best that the Trainer has here.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--evaluate", type=Path, nargs="+", required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--evaluation-rows", type=int, required=True)
    parser.add_argument("--select", type=Path, required=True)
    parser.add_argument("--select-rows", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()

    set_seed(options.seed)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForSequenceClassification.from_pretrained(options.model, num_labels=3)

    def rows(file: Path, count: int) -> list[dict[str, object]]:
        table = pyarrow.parquet.read_table(file).slice(0, count)
        texts = (table.column("premise").to_pylist(), table.column("hypothesis").to_pylist())
        encoded = tokenizer(*texts, truncation=True, max_length=128)
        labels = table.column("label").to_pylist()
        return [{**{key: encoded[key][row] for key in encoded}, "labels": label} for row, label in enumerate(labels)]

    arguments = TrainingArguments(
        str(options.output),
        num_train_epochs=1,
        learning_rate=options.rate,
        weight_decay=0.01,
        warmup_steps=0.1,
        per_device_train_batch_size=16,
        per_device_eval_batch_size=64,
        train_sampling_strategy="group_by_length",
        seed=options.seed,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    trainer = Trainer(
        model,
        arguments,
        train_dataset=rows(options.train, options.rows),
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=lambda found: {"accuracy": float((np.argmax(found.predictions, -1) == found.label_ids).mean())},
    )
    trainer.train()
    sets = dict.fromkeys(options.evaluate, options.evaluation_rows) | {options.select: options.select_rows}
    scores = {
        f"{file.parent.name}/{file.stem}": trainer.evaluate(rows(file, count))["eval_accuracy"]
        for file, count in sets.items()
    }
    trainer.save_model()
    (options.output / "scores.json").write_text(json.dumps(scores, indent=1))


if __name__ == "__main__":
    main()
