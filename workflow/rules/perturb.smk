from ftbench.paths import WEIGHTED


# Perturbed texts of one task's evaluation sets, the same for all artifacts.
rule perturb:
    input:
        unpack(PLAN.inputs("perturb")),
    output:
        perturbed=PLAN.pattern("perturbed"),
    log:
        PLAN.log("perturb", "{task}"),
    conda:
        "../envs/ftbench.yaml"
    resources:
        **PLAN.resources("perturb"),
    params:
        job=PLAN.arguments("perturb"),
    message:
        "perturbing the evaluation sets of {wildcards.task}"
    shell:
        "python -m ftbench.stage perturb {params.job} --threads {threads}"
        " --outputs perturbed={output.perturbed} > {log} 2>&1"


# Logits of one artifact on the perturbed texts of its task.
rule predict_perturbed:
    input:
        unpack(PLAN.inputs("predict_perturbed")),
    output:
        predictions=PLAN.pattern("perturbed_predictions"),
    log:
        PLAN.log("predict_perturbed", "{artifact}"),
    wildcard_constraints:
        artifact=WEIGHTED,
    conda:
        "../envs/ftbench.yaml"
    resources:
        **PLAN.resources("predict_perturbed"),
    params:
        job=PLAN.arguments("predict_perturbed"),
    message:
        "predicting perturbed texts with {wildcards.artifact}"
    shell:
        "python -m ftbench.stage predict_perturbed {params.job} --threads {threads}"
        " --outputs predictions={output.predictions} > {log} 2>&1"


# Scores of one artifact by perturbation and strength, from its stored predictions.
rule score_perturbed:
    input:
        unpack(PLAN.inputs("score_perturbed")),
    output:
        scores=PLAN.pattern("perturbations"),
    log:
        PLAN.log("score_perturbed", "{artifact}"),
    wildcard_constraints:
        artifact=WEIGHTED,
    conda:
        "../envs/ftbench.yaml"
    resources:
        **PLAN.resources("score_perturbed"),
    params:
        job=PLAN.arguments("score_perturbed"),
    message:
        "scoring {wildcards.artifact} under perturbation"
    shell:
        "python -m ftbench.stage score_perturbed {params.job} --threads {threads}"
        " --outputs scores={output.scores} > {log} 2>&1"
