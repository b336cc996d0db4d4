# Table of contents of the graph. Settings and paths come from the plan of the study; nothing is computed here.
import gc
import sys
from pathlib import Path

from snakemake.utils import min_version

from ftbench import driver, warm
from ftbench.partial import forget
from ftbench.paths import WILDCARDS
from ftbench.plan import Plan

min_version("9.20")

# a graph is many small objects that all stay: looking for garbage among them took a fifth of the time
gc.freeze()
gc.set_threshold(50_000, 20, 100)


configfile: "config/config.yaml"


PLAN = Plan.from_config(config)
(driver if workflow.is_main_process else warm).arrive(PLAN.paths.work)

# `python` in the rules is the interpreter that runs the workflow, whether its environment is active or not
shell.prefix(f'export PATH="{Path(sys.executable).parent}:$PATH"; ')


wildcard_constraints:
    **WILDCARDS,


# short stages, and those that need the network, run here and not in a scheduler's job
workflow.localrules("all", *PLAN.requirements.local_stages)


rule all:
    default_target: True
    input:
        PLAN.targets,


include: "workflow/rules/data.smk"
include: "workflow/rules/prior.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/soup.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/perturb.smk"
include: "workflow/rules/tables.smk"


onstart:
    driver.announce()  # jobs end with this process, however it ends
    PLAN.note_sources()  # so that `ftbench why` can name what has changed since
    warm.start()  # torch is imported once for all jobs on this machine


onsuccess:
    forget(PLAN.paths)


onerror:
    # tables from what exists, with what is missing and why, in a folder of their own
    shell("python -m ftbench.cli tables {PLAN.loaded.file}")
