"""The gate before deploy: Kubernetes admission reviews judged by the same policy as everything else.

settings   what applies in which namespace                 pure
review     AdmissionReview bytes in, AdmissionReview bytes out   pure
plan       which images of a review have to be asked for, scope first   pure
answer     judgements -> allowed, denied, warned, patched  pure
"""
