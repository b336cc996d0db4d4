from ftbench.paths import PATH, SOUP


# One soup of the runs of a family.
rule soup:
    input:
        unpack(PLAN.inputs("soup")),
    output:
        model=PLAN.pattern("soup_model"),
        card=PLAN.pattern("soup_card"),
        record=PLAN.pattern("recipe"),
    log:
        PLAN.log("soup", SOUP),
    priority: 5
    conda:
        "../envs/ftbench.yaml"
    resources:
        **PLAN.resources("soup"),
    params:
        job=PLAN.arguments("soup"),
    message:
        "making the soup {wildcards.soup} of {wildcards.model} on {wildcards.task}"
    shell:
        "python -m ftbench.stage soup {params.job} --threads {threads}"
        " --outputs model={output.model} card={output.card} record={output.record} > {log} 2>&1"


# What lies on the lines between the runs of a family.
rule path:
    input:
        unpack(PLAN.inputs("path")),
    output:
        points=PLAN.pattern("path_points"),
        barriers=PLAN.pattern("path_barriers"),
        vectors=PLAN.pattern("path_vectors"),
    log:
        PLAN.log("path", PATH),
    conda:
        "../envs/ftbench.yaml"
    resources:
        **PLAN.resources("path"),
    params:
        job=PLAN.arguments("path"),
    message:
        "walking the path {wildcards.path} of {wildcards.model} on {wildcards.task}"
    shell:
        "python -m ftbench.stage path {params.job} --threads {threads}"
        " --outputs points={output.points} barriers={output.barriers} vectors={output.vectors} > {log} 2>&1"
