from ftbench.paths import SOUP


# One soup of the runs of a family.
rule soup:
    input:
        unpack(PLAN.inputs("soup")),
    output:
        model=PLAN.pattern("soup_model"),
        record=PLAN.pattern("recipe"),
    log:
        PLAN.log("soup", SOUP),
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
        " --outputs model={output.model} record={output.record} > {log} 2>&1"
