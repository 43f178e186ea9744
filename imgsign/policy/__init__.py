"""The key policy: who must have signed or attested which names.

``model`` is its shape, ``match`` what may be asked of a signed value, ``parse`` with ``parse_require`` and
``parse_match`` its text. What each requirement proves, and what it does not:

``signed-by``      holders of ``threshold`` different keys of the anchors signed this digest under this name.
                   Not: that they looked at the image, or that a key was not stolen.
``attested``       … signed a statement of this type about this digest. Not: that the statement is true. A
                   builder says who built it; whether the builder can be trusted is the anchor's business.
``where``          the statement says so, in so many words, in one attestation alone. Not: that it says nothing
                   else, or that another attestation does not say the contrary.
``name``           the signer meant this name. ``repository`` leaves the tag to whoever can push, and with it
                   old releases; ``unsafe-any`` leaves all of it.
``max-age``, ``signed-after``  the signer *claims* such a time. A stolen key claims any; a lost one none.
``min-sequence``   the signer numbered it at least so high.
``annotations``    the signer wrote these texts beside the name.
``not-after``      the key is not trusted from then on, unless somebody else vouches for an earlier time.
``formats``        only signatures stored so count; says nothing about who.
``reject``         nothing is accepted, and no request is made.
``unsafe-accept-unsigned``  nothing is proven.

No requirement asks that something be absent: whoever can delete or hide would meet it.
"""
