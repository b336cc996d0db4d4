"""The tables of attacks: each example, each attacked artifact, tests of two methods, and what transfers."""

from __future__ import annotations

import pyarrow as pa

from ftbench.tables.column import INTEGER, NUMBER, SINGLE, TEXT, Column, Table
from ftbench.tables.comparison import VERDICTS
from ftbench.tables.recurring import EVAL_SET, METHOD, MIXED, MODEL, STUDY, TASK, VARIANT

OUTCOMES = ("success", "failed", "budget", "skipped", "error")
ATTACKED_KINDS = ("run", "soup")

_ATTACK = Column("attack", TEXT, "attack, by the name it has in the study")
_ATTACK_SEED = Column("attack_seed", INTEGER, "seed of what the attack draws", low=0)
_RUN_SEED = Column("seed", INTEGER, "seed of a run; null for a soup", nullable=True, low=0)

ATTACKS = Table(
    "attacks",
    "One row for each example that was attacked: what became of it. Wrong ones are in it too, as skipped.",
    ("artifact_id", "attack", "attack_seed", "eval_set", "uid"),
    (
        Column("artifact_id", TEXT, "attacked run or soup: its folder below the study"),
        _ATTACK, _ATTACK_SEED, EVAL_SET,
        Column("uid", TEXT, "id of the example; equal for every artifact"),
        Column("attack_config_hash", TEXT, "hash of the plug-in's name and resolved settings"),
        Column("status", TEXT, "success: the label flipped; failed: it did not; budget: cut off before it did, counts"
               " as failed; skipped: misclassified before; error: the model gave no number", values=OUTCOMES),
        Column("gold", TEXT, "true label"),
        Column("pred_before", TEXT, "predicted label of the text as it is; null after an error", nullable=True),
        Column("pred_after", TEXT, "predicted label of the last text", nullable=True),
        Column("p_true_before", SINGLE, "probability of the true label before", nullable=True, low=0, high=1),
        Column("p_true_after", SINGLE, "the same of the last text", nullable=True, low=0, high=1),
        Column("text_before", TEXT, "the attacked text; of a pair the one that is attacked"),
        Column("text_after", TEXT, "the last text; null where nothing was changed", nullable=True),
        Column("n_words", INTEGER, "words of the attacked text", low=0),
        Column("n_changed", INTEGER, "words that were changed", low=0),
        Column("changed_positions", pa.list_(INTEGER), "their positions, from 0"),
        Column("similarity", SINGLE, "of the last text to the first by the attack's own measure", nullable=True),
        Column("queries", INTEGER, "distinct inputs of this example that the model was asked about, the first included;"
               " an input asked about twice counts once", low=1),
    ),
)  # fmt: skip

ATTACK_SCORES = Table(
    "attack_scores",
    "One row for each attacked artifact, attack seed and set. Rates have the rows of `attacks` as their base.",
    ("artifact_id", "attack", "attack_seed", "eval_set"),
    (
        Column("artifact_id", TEXT, "attacked run or soup: its folder below the study"),
        _ATTACK, _ATTACK_SEED, EVAL_SET, STUDY, TASK, Column("model", TEXT, "model entry"),
        Column("artifact_kind", TEXT, "what was attacked", values=ATTACKED_KINDS),
        *MIXED, _RUN_SEED,
        Column("n", INTEGER, "examples of the sample", low=1),
        Column("skipped", INTEGER, "misclassified before, attacked or not", low=0),
        Column("success", INTEGER, "label flipped", low=0),
        Column("failed", INTEGER, "label kept, those cut at the budget not counted", low=0),
        Column("budget", INTEGER, "cut at the budget before the label flipped", low=0),
        Column("error", INTEGER, "the model gave no number", low=0),
        Column("original_accuracy", NUMBER, "(success + failed + budget) / n", low=0, high=1),
        Column("accuracy_under_attack", NUMBER, "(failed + budget) / n", low=0, high=1),
        Column("success_rate", NUMBER, "success / (success + failed + budget); null where nothing was right before",
               nullable=True, low=0, high=1),
        Column("success_low", NUMBER, "lower end of its 95 % interval over examples (Wilson)", nullable=True, low=0,
               high=1),
        Column("success_high", NUMBER, "upper end of that interval", nullable=True, low=0, high=1),
        Column("perturbed_share", NUMBER, "mean over successes of changed words / words; null without successes",
               nullable=True, low=0, high=1),
        Column("mean_queries", NUMBER, "mean over rows that are not skipped; null without such rows", nullable=True,
               low=1),
        Column("seconds", NUMBER, "time of the attack on all sets, all shards together, s", low=0),
    ),
    ordered=(("success_low", "success_high"),),
)  # fmt: skip

ATTACK_COMPARISONS = Table(
    "attack_comparisons",
    "One row for each test of a method and variant with the baseline under one attack on one set.",
    ("task", "model", "attack", "eval_set", "method", "variant", "baseline", "baseline_variant", "test"),
    (
        STUDY, TASK, MODEL, _ATTACK, EVAL_SET, METHOD, VARIANT,
        Column("baseline", TEXT, "the study's baseline"),
        Column("baseline_variant", TEXT, "its variant"),
        Column("test", TEXT, "over seeds, of the accuracy under attack: paired_t, sign_flip or none, as in"
               " `comparisons`; mcnemar: over examples that both classify correctly before, of attack success",
               values=("paired_t", "sign_flip", "none", "mcnemar")),
        Column("n_pairs", INTEGER, "seeds for which both were attacked with every attack seed", low=0),
        Column("n_missing", INTEGER, "attacked seeds of the study without such a pair", low=0),
        Column("n_examples", INTEGER, "mcnemar: examples that both classify correctly before, for some seed",
               nullable=True, low=0),
        Column("mean", NUMBER, "accuracy under attack, over seeds and attack seeds; mcnemar: success rate on the common"
               " examples", nullable=True),
        Column("baseline_mean", NUMBER, "the same of the baseline", nullable=True),
        Column("difference", NUMBER, "method minus baseline", nullable=True),
        Column("ci_low", NUMBER, "lower end of its 95 % t interval over seeds", nullable=True),
        Column("ci_high", NUMBER, "upper end of that interval", nullable=True),
        Column("statistic", NUMBER, "mcnemar: examples on which the attack beats the method for more seeds than the"
               " baseline, minus the others", nullable=True),
        Column("p_value", NUMBER, "two-sided p of the test", nullable=True, low=0, high=1),
        Column("p_adjusted", NUMBER, "Holm-adjusted p within the family; null with too few seeds", nullable=True, low=0,
               high=1),
        Column("q_value", NUMBER, "the same by Benjamini and Hochberg", nullable=True, low=0, high=1),
        Column("family", TEXT, "the comparisons adjusted together: of one task, model and kind of test"),
        Column("family_size", INTEGER, "tested comparisons in the family", low=0),
        Column("verdict", TEXT, "in words, at 5 % after adjustment; better: harder to attack", values=VERDICTS),
    ),
    ordered=(("ci_low", "ci_high"),),
)  # fmt: skip

TRANSFER = Table(
    "transfer",
    "One row for each artifact asked about the texts that fooled another one, on one set: the transferability matrix.",
    ("attack", "eval_set", "source", "target"),
    (
        _ATTACK, EVAL_SET,
        Column("source", TEXT, "artifact that the texts fooled"),
        Column("target", TEXT, "artifact that was asked about them"),
        STUDY, TASK,
        Column("source_model", TEXT, "model entry of the source"),
        Column("target_model", TEXT, "model entry of the target"),
        Column("n_texts", INTEGER, "texts that fooled the source", low=0),
        Column("n", INTEGER, "of these, texts whose original the target classifies correctly", low=0),
        Column("fooled", INTEGER, "of these, texts that the target classifies wrongly", low=0),
        Column("transfer_rate", NUMBER, "fooled / n; null where n is 0", nullable=True, low=0, high=1),
        Column("low", NUMBER, "lower end of its 95 % interval over examples (Wilson)", nullable=True, low=0, high=1),
        Column("high", NUMBER, "upper end of that interval", nullable=True, low=0, high=1),
    ),
    ordered=(("low", "high"),),
)  # fmt: skip
