from ftbench.paths import COLLECTED, COMPARED
from ftbench.report.results import TABLES


# The tables of the study, from everything that its jobs left.
rule collect:
    input:
        PLAN.collected,
    output:
        **PLAN.tables(COLLECTED),
    log:
        PLAN.log("collect", "study"),
    conda:
        "../envs/ftbench.yaml"
    threads: 2
    resources:
        **PLAN.resources("collect"),
    params:
        job=PLAN.arguments("collect"),
        outputs=PLAN.outputs("collect"),
    message:
        "collecting the tables"
    shell:
        "python -m ftbench.stage collect {params.job} --threads {threads}"
        " --outputs {params.outputs} > {log} 2>&1"


# Every method with the baseline and with every other, paired by seed and example.
rule compare:
    input:
        **PLAN.tables(("runs", "metrics", "attacks")),
    output:
        **PLAN.tables(COMPARED),
    log:
        PLAN.log("compare", "study"),
    conda:
        "../envs/ftbench.yaml"
    resources:
        **PLAN.resources("compare"),
    params:
        job=PLAN.arguments("compare"),
        outputs=PLAN.outputs("compare"),
    message:
        "comparing the methods"
    shell:
        "python -m ftbench.stage compare {params.job} --threads {threads}"
        " --outputs {params.outputs} > {log} 2>&1"


# The page, the leaderboard and the figures.
rule report:
    input:
        **PLAN.tables(TABLES),
    output:
        **{
            page: report(path, caption="../report/page.rst", category="Study")
            for page, path in PLAN.pages().items()
        },
    log:
        PLAN.log("report", "study"),
    conda:
        "../envs/ftbench.yaml"
    resources:
        **PLAN.resources("report"),
    params:
        job=PLAN.arguments("report"),
        outputs=PLAN.outputs("report"),
    message:
        "writing the report"
    shell:
        "python -m ftbench.stage report {params.job} --threads {threads}"
        " --outputs {params.outputs} > {log} 2>&1"
