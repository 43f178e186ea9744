"""The gate before deploy: Kubernetes admission reviews judged by the same policy as everything else.

Pure, bytes to bytes:

    settings   what applies in which namespace
    review     AdmissionReview bytes -> Review, Response -> bytes; changes: what an update left as it was
    plan       which images have to be asked for, scope first; hosts: whom no tenant may make us talk to
    judgement  one image, judged or why not
    answer     judgements -> allowed, denied, warned, patched; texts: how people read it
"""
