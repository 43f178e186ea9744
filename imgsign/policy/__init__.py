"""The key policy: who must have signed which names. ``model`` is its shape, ``parse`` its text."""
