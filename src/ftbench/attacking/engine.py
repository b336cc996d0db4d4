"""Runs the searches of many examples at once: their questions become full batches for victim, candidates, constraints.

The stage `attack`, adversarial training and the benchmark call it. Which examples are attacked together changes speed
and the rounding of single precision, and nothing else.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence

from ftbench.attacking.contract import Case, Constraint, Option, Proposer, Site, Subject
from ftbench.attacking.search import Outcome, Propose, Request, Score, Search
from ftbench.attacking.victim import Victim
from ftbench.config.errors import FtbenchError

CPU_GROUP, GPU_GROUP = 8, 64  # examples attacked at once


def attacked(
    attack: Proposer, subjects: Sequence[Subject], victim: Victim, seed: int, together: int = CPU_GROUP
) -> Iterator[list[Outcome]]:
    """Outcomes of all subjects, in order, a list for each group of `together`. `attack` has been prepared.

    Randomness comes from (seed, uid) alone. Groups do not depend on each other: leaving out the first ones gives the
    other ones bit for bit.
    """
    constraints, stop_words = list(attack.constraints()), stop_words_of(attack)
    gc.freeze()  # libraries and model are no garbage: with a small model, looking through them took half the time
    try:
        for start in range(0, len(subjects), together):
            members = subjects[start : start + together]
            group = [Search(attack, subject, victim, seed, stop_words) for subject in members]
            yield _run(group, attack, constraints, victim)
    finally:
        gc.unfreeze()


def stop_words_of(attack: Proposer) -> frozenset[str]:
    """The words, in lower case, that are never changed; an unreadable file raises an `FtbenchError`."""
    from ftbench.data.lexicon import lexicon_path
    from ftbench.data.word_edits import stop_words

    file = attack.config.stop_word_file()
    if file is None:
        return stop_words() if attack.config.stop_words == "english" else frozenset()
    try:
        text = lexicon_path(file, "settings.stop_words").read_text(encoding="utf-8")
        return frozenset(line.strip().lower() for line in text.splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise FtbenchError(
            f"key `settings.stop_words`: found no readable file `{file}` ({error}); expected `english`, `none`, or a "
            "UTF-8 file with a word on each line"
        ) from None


def _run(group: list[Search], attack: Proposer, constraints: Sequence[Constraint], victim: Victim) -> list[Outcome]:
    """All searches of a group to their ends, in rounds: gather what they ask, answer, go on."""
    running = [search.run() for search in group]
    outcomes: list[Outcome | None] = [None] * len(group)
    waiting: dict[int, Request] = {}

    def go_on(place: int, answer: object) -> None:
        try:
            waiting[place] = running[place].send(answer)
        except StopIteration as stop:
            outcomes[place] = stop.value
            waiting.pop(place, None)

    for place in range(len(group)):
        go_on(place, None)
    while waiting:
        asked = sorted(waiting.items())
        proposals = [(place, request) for place, request in asked if isinstance(request, Propose)]
        scores = [(place, request) for place, request in asked if isinstance(request, Score)]
        if proposals:  # first, so that the searches that follow ask for scores together
            options = _options(attack, constraints, [site for _, request in proposals for site in request.sites])
            for place, proposal in proposals:
                mine, options = options[: len(proposal.sites)], options[len(proposal.sites) :]
                go_on(place, mine)
        elif scores:
            answers = list(victim.probabilities([given for _, request in scores for given in request.inputs]))
            for place, request in scores:
                found, answers = answers[: len(request.inputs)], answers[len(request.inputs) :]
                go_on(place, found)
    done = [outcome for outcome in outcomes if outcome is not None]
    assert len(done) == len(group)
    return done


def _options(attack: Proposer, constraints: Sequence[Constraint], sites: list[Site]) -> list[list[Option]]:
    """For each site the candidates that differ from the word and pass all constraints, in the attack's order."""
    most = attack.config.most_candidates
    cases: list[tuple[int, Case, float | None]] = []
    for number, (site, words) in enumerate(zip(sites, attack.candidates(sites), strict=True)):
        fresh = [word for word in dict.fromkeys(words) if word != site.word][:most]
        cases += [(number, Case(site, word), None) for word in fresh]
    for constraint in constraints:
        verdicts = constraint.judge([case for _, case, _ in cases]) if cases else []
        cases = [
            (number, case, before if verdict.similarity is None else verdict.similarity)
            for (number, case, before), verdict in zip(cases, verdicts, strict=True)
            if verdict.allowed
        ]
    found: list[list[Option]] = [[] for _ in sites]
    for number, case, similarity in cases:
        found[number].append(Option(case.replacement, similarity))
    return found
