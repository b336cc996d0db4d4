from ftbench.paths import RUN


# A local snapshot of one model.
rule base:
    input:
        unpack(PLAN.inputs("base")),
    output:
        record=PLAN.pattern("base"),
    log:
        PLAN.log("base", "{model}"),
    conda:
        "../envs/ftbench.yaml"
    resources:
        **PLAN.resources("base"),
    params:
        job=PLAN.arguments("base"),
        snapshot=PLAN.snapshot,
    message:
        "getting the model {wildcards.model}"
    shell:
        "python -m ftbench.stage base {params.job} --threads {threads}"
        " --outputs snapshot={params.snapshot} record={output.record} > {log} 2>&1"


# One run: task, model, method, variant, seed.
rule finetune:
    input:
        unpack(PLAN.inputs("finetune")),
    output:
        model=PLAN.pattern("run_model"),
        log_file=PLAN.pattern("run_log"),
        record=PLAN.pattern("run"),
    log:
        PLAN.log("finetune", RUN),
    conda:
        "../envs/ftbench.yaml"
    resources:
        **PLAN.resources("finetune"),
    params:
        job=PLAN.arguments("finetune"),
    message:
        "fine-tuning {wildcards.model} on {wildcards.task}: {wildcards.method} {wildcards.variant}, seed {wildcards.seed}"
    shell:
        "python -m ftbench.stage finetune {params.job} --threads {threads}"
        " --outputs model={output.model} log={output.log_file} record={output.record} > {log} 2>&1"
