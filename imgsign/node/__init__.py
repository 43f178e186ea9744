"""The node's gate: containerd's image verifier plug-in, its configuration, its launcher and its doctor.

- :mod:`~imgsign.node.config`: ``/etc/imgsign/containerd.toml``, what the plug-in is told
- :mod:`~imgsign.node.question`: what containerd asks, as arguments and one descriptor
- :mod:`~imgsign.node.launcher`: the one file that lies in containerd's ``bin_dir``
- :mod:`~imgsign.node.settings`: what containerd's own configuration says about verifiers
- :mod:`~imgsign.node.doctor`: whether this node's containerd will really call the plug-in

The process itself, with its clock, its deadline and its output, is :mod:`imgsign.containerd`.
"""

from __future__ import annotations
