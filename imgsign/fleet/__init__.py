"""Many images: copying them with all that belongs to them, cleaning up after years, knowing how they stand.

:mod:`~imgsign.fleet.copy` and :mod:`~imgsign.fleet.clean` work on one image, :mod:`~imgsign.fleet.audit` on
a list, a repository, a registry, a cluster. All judge by :func:`imgsign.evaluate.evaluate` alone.
"""
