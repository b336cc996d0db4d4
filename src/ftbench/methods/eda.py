"""EDA, easy data augmentation: training rows with a few words replaced, inserted, swapped or deleted.

Paper: Wei and Zou (2019), EDA: Easy Data Augmentation Techniques for Boosting Performance on Text Classification
Tasks. Reference code: jasonwei20/eda_nlp @ 04ab29c.
Formula: n variants of each text of l words beside the text itself, in equal parts by each operation, with
max(1, floor(a l)) words replaced, inserted or swapped, or each word deleted with probability p.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from ftbench.config.strict import Strict
from ftbench.data.lexicon import lexicon_path, read_synonyms
from ftbench.data.word_edits import Synonyms, deleted, inserted, letters_alone, replaced, swapped
from ftbench.methods.base import Cost, Method
from ftbench.training.examples import Examples
from ftbench.training.seeds import numpy_generator

if TYPE_CHECKING:
    import numpy as np

    from ftbench.config.study import Training
    from ftbench.methods.base import Context

Operation = Literal["replacement", "insertion", "swap", "deletion"]
WITH_SYNONYMS: tuple[Operation, ...] = ("replacement", "insertion")
WITHOUT: tuple[Operation, ...] = ("swap", "deletion")


class Eda(Method):
    """Adds rows before tokenisation. The number of steps stays that of the rows without variants."""

    name = "eda"
    summary = "training rows with a few words replaced, inserted, swapped or deleted"
    paper = (
        "Wei and Zou (2019), EDA: Easy Data Augmentation Techniques for Boosting Performance on Text Classification "
        "Tasks"
    )
    reference_code = "jasonwei20/eda_nlp @ 04ab29c"
    formula = "n variants a text, in equal parts by operation, max(1, floor(a l)) words each or deletion with p"
    deviations = (
        "without a list of synonyms only swap and deletion run; nothing is downloaded",
        "words are looked up as they stand, not by their base form; stop words are scikit-learn's",
        "the original row and all other words keep case, digits and punctuation, and inserted words are synonyms of "
        "words that are no stop words; `reference: true` has the released code's way: lower case and a to z alone, in "
        "the original rows too (evaluation rows stay as they are), and synonyms of stop words",
        "synonyms are sorted before the draw (the reference's order depends on the hash seed)",
        "in pairs every variant keeps its own partner",
        "the number of steps is that of the plain rows, so that no method trains longer",
    )
    cost = Cost(forward=1.0, backward=1.0, memory="n more tokenised copies of the training rows")
    search = {"settings.share": (0.05, 0.1), "settings.variants": (1, 4, 8, 16)}
    alters_forward = True

    class Config(Strict):
        variants: int = Field(9, gt=0, description="n: rows added for each training row")
        share: float = Field(0.1, ge=0, le=1, description="a: part of the words that an edit touches, at least one")
        deletion: float = Field(0.1, ge=0, lt=1, description="p: probability that the deletion drops a word")
        operations: tuple[Operation, ...] | None = Field(
            None, min_length=1, description="null: all four with `synonyms`, swap and deletion without"
        )
        synonyms: str | None = Field(
            None,
            description="synonyms, as a path or below data_root: WordNet's folder, Parquet (synsets, pairs), or lines",
        )
        synonyms_sha256: str | None = Field(None, description="what that file has to hash to; null: not compared")
        texts: Literal["both", "a", "b"] = Field("both", description="which text of a pair is edited")
        reference: bool = Field(
            False,
            description="the released code's way: training texts, the original ones too, in lower case with a to z "
            "alone, and insertions of synonyms of stop words",
        )

    @classmethod
    def check(cls, config: Any, training: Training, kind: str, others: Sequence[type[Method]]) -> list[str]:
        asked = sorted(set(config.operations or ()) & set(WITH_SYNONYMS))
        reasons = []
        if asked and config.synonyms is None:
            reasons.append(f"`operations` {asked} without `synonyms`; expected the path of a list of synonyms")
        if config.synonyms_sha256 is not None and config.synonyms is None:
            reasons.append("`synonyms_sha256` without `synonyms`; expected both or none")
        reasons += [
            f"`eda` with `{other.name}`, which reads or changes the training rows as well; expected one of them"
            for other in others
            if other.examples is not Method.examples
        ]
        return reasons

    def examples(self, examples: Examples, context: Context) -> Examples:
        import numpy as np

        config, synonyms = self.config, self._synonyms()
        operations = config.operations or (WITHOUT if config.synonyms is None else WITH_SYNONYMS + WITHOUT)
        pairs = examples.text_b is not None
        if config.reference:
            second_texts = None if examples.text_b is None else [letters_alone(text) for text in examples.text_b]
            first_texts = [letters_alone(text) for text in examples.text_a]
            examples = Examples(examples.uids, first_texts, second_texts, examples.targets)
        first, second = list(examples.text_a), list(examples.text_b or [])
        uids, origins = list(examples.uids), list(range(len(examples)))
        for row, uid in enumerate(examples.uids):
            generator = numpy_generator(context.seed, "noise", self.name, uid)
            drawn = [each for each in operations for _ in range(config.variants // len(operations) + 1)]
            order = generator.permutation(len(drawn))[: config.variants]
            for number, position in enumerate(order, start=1):
                operation = drawn[position]
                text_a = examples.text_a[row]
                if config.texts != "b" or not pairs:
                    text_a = self.edited(text_a, operation, synonyms, generator)
                first.append(text_a)
                if examples.text_b is not None:
                    text_b = examples.text_b[row]
                    if config.texts != "a":
                        text_b = self.edited(text_b, operation, synonyms, generator)
                    second.append(text_b)
                uids.append(f"{uid}/eda{number}")
                origins.append(row)
        targets = None if examples.targets is None else examples.targets[np.array(origins)]
        return Examples(uids, first, second if pairs else None, targets)

    def _synonyms(self) -> Synonyms:
        if self.config.synonyms is None:
            return {}
        return read_synonyms(lexicon_path(self.config.synonyms), self.config.synonyms_sha256)

    def edited(self, text: str, operation: str, synonyms: Synonyms, generator: np.random.Generator) -> str:
        """One variant of a text; spaces between words become single ones."""
        words = text.split()
        if not words:
            return text
        count = max(1, int(self.config.share * len(words)))
        if operation == "replacement":
            words = replaced(words, count, synonyms, generator)
        elif operation == "insertion":
            words = inserted(words, count, synonyms, generator, self.config.reference)
        elif operation == "swap":
            words = swapped(words, count, generator)
        else:
            words = deleted(words, self.config.deletion, generator)
        return " ".join(words)
