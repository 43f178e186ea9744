"""HTTP to registries: limits, retries, redirects, credentials, proxies and TLS, once for everything.

- :mod:`~imgsign.transport.session`: ``Transport``, the only way to send a ``request.Request``
- :mod:`~imgsign.transport.pool`: connections; ``failures``: what it means when they fail
- :mod:`~imgsign.transport.replies`: bounded reading, and errors made of answers
- :mod:`~imgsign.transport.retry`, ``deadline``: what is tried again, when, and until when
- :mod:`~imgsign.transport.hosts`: origins, where one may be sent, proxies
- :mod:`~imgsign.transport.auth`, ``challenge``, ``tokens``, ``fetch``: answering a 401
- :mod:`~imgsign.transport.realms`: which token servers are asked, and which see credentials
- :mod:`~imgsign.transport.memory`: what was learnt about hosts
- :mod:`~imgsign.transport.credentials`: who one is, by what ``login`` left in the files of ``config``

The only package that imports ``requests``, and only once the first request is sent. It knows HTTP and
who may be told what, and nothing of manifests: that is :mod:`imgsign.stores.remote`.
"""

from __future__ import annotations

from imgsign.transport.auth import Access
from imgsign.transport.replies import Body, Reply
from imgsign.transport.request import Request, Streamed, TooLate
from imgsign.transport.retry import Transient
from imgsign.transport.session import Transport

__all__ = ["Access", "Body", "Reply", "Request", "Streamed", "TooLate", "Transient", "Transport"]
