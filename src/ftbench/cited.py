"""What a study uses and whom to cite for it: methods, soups, models and data sets, as their entries tell."""

from __future__ import annotations

from ftbench.config.load import Catalogue
from ftbench.config.study import Study
from ftbench.plugins import plugin
from ftbench.report.citations import Source
from ftbench.resolve import Resolver


def cited_sources(study: Study, catalogue: Catalogue) -> list[Source]:
    """One source for each plug-in, model and data set that the study reads, each once."""
    used = [name for method in study.methods for name in study.entry(method).use or [method]]
    found = []
    for kind, folder, names in (
        ("method", "methods", used),
        ("soup", "soups", [soup.recipe for soup in study.soups.values()]),
    ):
        for name in dict.fromkeys(names):
            factory = plugin(folder, name).factory
            origin = getattr(factory, "reference_code", "")
            found.append(Source(kind=kind, name=name, citation=getattr(factory, "paper", ""), origin=origin))
    for name in study.models:
        model = catalogue.model(name)
        origin = f"{model.hub.repository} at {model.hub.revision[:12]}" if model.hub else model.package or ""
        found.append(Source(kind="model", name=name, title=model.title, origin=origin))
    for name in Resolver(study, catalogue).datasets():
        entry = catalogue.dataset(name)
        origin = f"{entry.hub.repository} at {entry.hub.revision[:12]}" if entry.hub else ""
        found.append(Source(kind="data set", name=name, title=entry.title, citation=entry.citation, origin=origin))
    return found
