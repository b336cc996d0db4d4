from ftbench.paths import COMBINED, WEIGHTED


# Logits of one artifact on every evaluation set of its task.
rule predict:
    input:
        unpack(PLAN.inputs("predict")),
    output:
        predictions=PLAN.pattern("predictions"),
    log:
        PLAN.log("predict", "{artifact}"),
    wildcard_constraints:
        artifact=WEIGHTED,
    conda:
        "../envs/ftbench.yaml"
    resources:
        **PLAN.resources("predict"),
    params:
        job=PLAN.arguments("predict"),
    message:
        "predicting with {wildcards.artifact}"
    shell:
        "python -m ftbench.stage predict {params.job} --threads {threads}"
        " --outputs predictions={output.predictions} > {log} 2>&1"


# Mean outputs of the runs of a family, from their predictions.
rule ensemble:
    input:
        unpack(PLAN.inputs("ensemble")),
    output:
        predictions=PLAN.pattern("predictions"),
    log:
        PLAN.log("ensemble", "{artifact}"),
    wildcard_constraints:
        artifact=COMBINED,
    conda:
        "../envs/ftbench.yaml"
    resources:
        **PLAN.resources("ensemble"),
    params:
        job=PLAN.arguments("ensemble"),
    message:
        "averaging the predictions of {wildcards.artifact}"
    shell:
        "python -m ftbench.stage ensemble {params.job} --threads {threads}"
        " --outputs predictions={output.predictions} > {log} 2>&1"


# Metrics of one artifact, from its stored predictions.
rule score:
    input:
        unpack(PLAN.inputs("score")),
    output:
        metrics=PLAN.pattern("metrics"),
    log:
        PLAN.log("score", "{artifact}"),
    conda:
        "../envs/ftbench.yaml"
    resources:
        **PLAN.resources("score"),
    params:
        job=PLAN.arguments("score"),
    message:
        "scoring {wildcards.artifact}"
    shell:
        "python -m ftbench.stage score {params.job} --threads {threads}"
        " --outputs metrics={output.metrics} > {log} 2>&1"
