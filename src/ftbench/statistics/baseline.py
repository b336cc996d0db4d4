"""Which method and variant the others of a study are compared with.

The stage `compare` and the report ask here, so that the verdicts and the words about them agree.
"""

from __future__ import annotations

from ftbench.config.study import Study


def baseline_of(study: Study) -> tuple[str, str] | None:
    """Method and variant of the baseline; null where the study has none.

    Of several variants it is `default`, else the first by name: the order in the file must not matter.
    """
    if study.reference is None:
        return None
    variants = study.variants(study.reference)
    return study.reference, "default" if "default" in variants else min(variants)
