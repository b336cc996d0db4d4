# The base model after its prior task.
rule upstream:
    input:
        unpack(PLAN.inputs("upstream")),
    output:
        model=PLAN.pattern("upstream_model"),
        record=PLAN.pattern("upstream"),
    log:
        PLAN.log("upstream", "{prior}/{model}"),
    conda:
        "../envs/ftbench.yaml"
    resources:
        **PLAN.resources("upstream"),
    params:
        job=PLAN.arguments("upstream"),
    message:
        "training {wildcards.model} on the prior task {wildcards.prior}"
    shell:
        "python -m ftbench.stage upstream {params.job} --threads {threads}"
        " --outputs model={output.model} record={output.record} > {log} 2>&1"


# What the model knows of its prior task before fine-tuning.
rule pretrain_samples:
    input:
        unpack(PLAN.inputs("pretrain_samples")),
    output:
        samples=PLAN.pattern("pretrain_samples"),
    log:
        PLAN.log("pretrain_samples", "{prior}/{model}"),
    conda:
        "../envs/ftbench.yaml"
    resources:
        **PLAN.resources("pretrain_samples"),
    params:
        job=PLAN.arguments("pretrain_samples"),
    message:
        "reading the prior samples of {wildcards.model}"
    shell:
        "python -m ftbench.stage pretrain_samples {params.job} --threads {threads}"
        " --outputs samples={output.samples} > {log} 2>&1"
