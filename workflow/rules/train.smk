from ftbench.paths import RUN, TRIAL


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


# One run: task, model, method, variant, seed. Trainings go first: what waits for them is shorter and fills the cores at
# the end, where a training that came late would run alone.
rule finetune:
    input:
        unpack(PLAN.inputs("finetune")),
    output:
        model=PLAN.pattern("run_model"),
        log_file=PLAN.pattern("run_log"),
        record=PLAN.pattern("run"),
    log:
        PLAN.log("finetune", RUN),
    priority: 10
    conda:
        "../envs/ftbench.yaml"
    threads: PLAN.threads("finetune")
    resources:
        **PLAN.resources("finetune"),
    params:
        job=PLAN.arguments("finetune"),
    message:
        "fine-tuning {wildcards.model} on {wildcards.task}: {wildcards.method} {wildcards.variant}, seed {wildcards.seed}"
    shell:
        "python -m ftbench.stage finetune {params.job} --threads {threads}"
        " --outputs model={output.model} log={output.log_file} record={output.record} > {log} 2>&1"


# One setting tried for a method; only its score on the selection rows is used, so its weights do not stay.
rule trial:
    input:
        unpack(PLAN.inputs("trial")),
    output:
        model=temp(PLAN.pattern("trial_model")),
        log_file=PLAN.pattern("trial_log"),
        record=PLAN.pattern("trial"),
    log:
        PLAN.log("finetune", TRIAL),
    priority: 10
    conda:
        "../envs/ftbench.yaml"
    threads: PLAN.threads("trial")
    resources:
        **PLAN.resources("trial"),
    params:
        job=PLAN.arguments("trial"),
    message:
        "trying {wildcards.method} on {wildcards.task}: setting {wildcards.trial}, seed {wildcards.seed}"
    shell:
        "python -m ftbench.stage finetune {params.job} --threads {threads}"
        " --outputs model={output.model} log={output.log_file} record={output.record} > {log} 2>&1"


# The setting that a method's runs will use.
rule tune:
    input:
        unpack(PLAN.inputs("tune")),
    output:
        record=PLAN.pattern("tuned"),
    log:
        PLAN.log("tune", "tuning/{task}/{model}/{method}"),
    conda:
        "../envs/ftbench.yaml"
    resources:
        **PLAN.resources("tune"),
    params:
        job=PLAN.arguments("tune"),
    message:
        "choosing the setting of {wildcards.method} on {wildcards.task}"
    shell:
        "python -m ftbench.stage tune {params.job} --threads {threads}"
        " --outputs tuned={output.record} > {log} 2>&1"
