from ftbench.paths import COMBINED, LIKELIHOOD, WEIGHTED


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


# One attack on one artifact, or on its share of the rows.
rule attack:
    input:
        unpack(PLAN.inputs("attack")),
    output:
        attacks=PLAN.pattern("attacks"),
        record=PLAN.pattern("attack"),
    log:
        PLAN.log("attack", "{attack}/{artifact}/a{attack_seed}/{shard}"),
    wildcard_constraints:
        artifact=WEIGHTED,
    conda:
        "../envs/ftbench.yaml"
    resources:
        **PLAN.resources("attack"),
    params:
        job=PLAN.arguments("attack"),
    message:
        "attacking {wildcards.artifact} by {wildcards.attack}, seed {wildcards.attack_seed}, shard {wildcards.shard}"
    shell:
        "python -m ftbench.stage attack {params.job} --threads {threads}"
        " --outputs attacks={output.attacks} record={output.record} > {log} 2>&1"


# What one artifact says to the texts that fooled others.
rule transfer:
    input:
        unpack(PLAN.inputs("transfer")),
    output:
        predictions=PLAN.pattern("transferred"),
    log:
        PLAN.log("transfer", "{artifact}"),
    wildcard_constraints:
        artifact=WEIGHTED,
    conda:
        "../envs/ftbench.yaml"
    resources:
        **PLAN.resources("transfer"),
    params:
        job=PLAN.arguments("transfer"),
    message:
        "asking {wildcards.artifact} about texts that fooled others"
    shell:
        "python -m ftbench.stage transfer {params.job} --threads {threads}"
        " --outputs predictions={output.predictions} > {log} 2>&1"


# Metrics and calibration of one artifact, from its stored predictions.
rule score:
    input:
        unpack(PLAN.inputs("score")),
    output:
        calibration=PLAN.pattern("calibration"),
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
        " --outputs calibration={output.calibration} metrics={output.metrics} > {log} 2>&1"


# What the last layer of one artifact reads, for scores that need it.
rule embed:
    input:
        unpack(PLAN.inputs("embed")),
    output:
        features=PLAN.pattern("features"),
    log:
        PLAN.log("embed", "{artifact}"),
    wildcard_constraints:
        artifact=WEIGHTED,
    conda:
        "../envs/ftbench.yaml"
    resources:
        **PLAN.resources("embed"),
    params:
        job=PLAN.arguments("embed"),
    message:
        "reading the features of {wildcards.artifact}"
    shell:
        "python -m ftbench.stage embed {params.job} --threads {threads}"
        " --outputs features={output.features} > {log} 2>&1"


# The language model of a base model after the texts of one task.
rule adapt:
    input:
        unpack(PLAN.inputs("adapt")),
    output:
        model=PLAN.pattern("adapted_model"),
        record=PLAN.pattern("adapted"),
    log:
        PLAN.log("adapt", LIKELIHOOD),
    conda:
        "../envs/ftbench.yaml"
    resources:
        **PLAN.resources("adapt"),
    params:
        job=PLAN.arguments("adapt"),
    message:
        "training the language model {wildcards.model} on the texts of {wildcards.task}"
    shell:
        "python -m ftbench.stage adapt {params.job} --threads {threads}"
        " --outputs model={output.model} record={output.record} > {log} 2>&1"


# Likelihoods of evaluation texts under a language model before and after the texts of one task.
rule likelihood:
    input:
        unpack(PLAN.inputs("likelihood")),
    output:
        likelihoods=PLAN.pattern("likelihoods"),
    log:
        PLAN.log("likelihood", LIKELIHOOD),
    conda:
        "../envs/ftbench.yaml"
    resources:
        **PLAN.resources("likelihood"),
    params:
        job=PLAN.arguments("likelihood"),
    message:
        "reading likelihoods of {wildcards.model} for {wildcards.task}"
    shell:
        "python -m ftbench.stage likelihood {params.job} --threads {threads}"
        " --outputs likelihoods={output.likelihoods} > {log} 2>&1"


# How well the scores of one artifact tell rows from outside the task.
rule detect:
    input:
        unpack(PLAN.inputs("detect")),
    output:
        detection=PLAN.pattern("detection"),
    log:
        PLAN.log("detect", "{artifact}"),
    conda:
        "../envs/ftbench.yaml"
    resources:
        **PLAN.resources("detect"),
    params:
        job=PLAN.arguments("detect"),
    message:
        "telling rows from outside with {wildcards.artifact}"
    shell:
        "python -m ftbench.stage detect {params.job} --threads {threads}"
        " --outputs detection={output.detection} > {log} 2>&1"
