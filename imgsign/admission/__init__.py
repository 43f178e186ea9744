"""The gate before deploy: Kubernetes admission reviews judged by the same policy as everything else.

Pure, bytes to bytes:

    settings   what applies in which namespace
    review     AdmissionReview bytes -> Review, Response -> bytes; changes: what an update left as it was
    plan       which images have to be asked for, scope first; hosts: whom no tenant may make us talk to
    judgement  one image, judged or why not
    answer     judgements -> allowed, denied, warned, patched; texts: how people read it

The webhook, from the wire inwards:

    server     puts it together: start, ready, drain, end          admin   probes, metrics, the decision page
    listener   HTTPS, certificates that change: Granian            certificate, mounted   files of one moment
    service    one request: bounds, deadline, never 200 without a verdict          audit   a line a decision
    snapshot   settings, policies and keys of one moment           reload  the next one, if it can be used
    judge      remembered, under way, or gathered within limits    cache, limits, asked, metrics
    places     registries and whose credentials; pull_secrets: those of a Pod
"""
