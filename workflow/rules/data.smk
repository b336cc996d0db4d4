# Fetch the raw rows of one data set, from the hub, a local copy or the generator.
rule fetch:
    input:
        unpack(PLAN.inputs("fetch")),
    output:
        fetched=PLAN.pattern("fetched"),
        record=PLAN.pattern("fetched_record"),
    log:
        PLAN.log("fetch", "{dataset}"),
    conda:
        "../envs/ftbench.yaml"
    resources:
        **PLAN.resources("fetch"),
    params:
        job=PLAN.arguments("fetch"),
    message:
        "fetching {wildcards.dataset}"
    shell:
        "python -m ftbench.stage fetch {params.job} --threads {threads}"
        " --outputs fetched={output.fetched} record={output.record} > {log} 2>&1"


# Label names, uids and the card of one data set.
rule prepare:
    input:
        unpack(PLAN.inputs("prepare")),
    output:
        prepared=PLAN.pattern("prepared"),
        card=PLAN.pattern("card"),
    log:
        PLAN.log("prepare", "{dataset}"),
    conda:
        "../envs/ftbench.yaml"
    resources:
        **PLAN.resources("prepare"),
    params:
        job=PLAN.arguments("prepare"),
    message:
        "preparing {wildcards.dataset}"
    shell:
        "python -m ftbench.stage prepare {params.job} --threads {threads}"
        " --outputs prepared={output.prepared} card={output.card} > {log} 2>&1"


# Training and selection rows of one task.
rule split:
    input:
        unpack(PLAN.inputs("split")),
    output:
        train=PLAN.pattern("train"),
        select=PLAN.pattern("select"),
        record=PLAN.pattern("split_record"),
    log:
        PLAN.log("split", "{task}"),
    conda:
        "../envs/ftbench.yaml"
    resources:
        **PLAN.resources("split"),
    params:
        job=PLAN.arguments("split"),
    message:
        "cutting the selection rows of {wildcards.task}"
    shell:
        "python -m ftbench.stage split {params.job} --threads {threads}"
        " --outputs train={output.train} select={output.select} record={output.record} > {log} 2>&1"


# Evaluation rows of one task, their label contract and their overlap with the training rows.
rule audit:
    input:
        unpack(PLAN.inputs("audit")),
    output:
        evaluation=PLAN.pattern("evaluation"),
        overlap=PLAN.pattern("overlap"),
        duplicates=PLAN.pattern("duplicates"),
        record=PLAN.pattern("audit"),
    log:
        PLAN.log("audit", "{task}"),
    conda:
        "../envs/ftbench.yaml"
    resources:
        **PLAN.resources("audit"),
    params:
        job=PLAN.arguments("audit"),
    message:
        "auditing the evaluation sets of {wildcards.task}"
    shell:
        "python -m ftbench.stage audit {params.job} --threads {threads}"
        " --outputs evaluation={output.evaluation} overlap={output.overlap} duplicates={output.duplicates}"
        " record={output.record} > {log} 2>&1"


# How far the evaluation sets of one task are from its training rows.
rule shift:
    input:
        unpack(PLAN.inputs("shift")),
    output:
        similarity=PLAN.pattern("similarity"),
    log:
        PLAN.log("shift", "{task}"),
    priority: 10
    conda:
        "../envs/ftbench.yaml"
    resources:
        **PLAN.resources("shift"),
    params:
        job=PLAN.arguments("shift"),
    message:
        "measuring the shift of the evaluation sets of {wildcards.task}"
    shell:
        "python -m ftbench.stage shift {params.job} --threads {threads}"
        " --outputs similarity={output.similarity} > {log} 2>&1"
