"""Which images a compose file names; pure: text in, places out.

Sources: compose-spec 170098b (05-services, build, models, 12-interpolation, 13-merge, 14-include) and what
compose-go e70e961 and docker compose do. Looked at, in services of every profile:

    services.*.image                    unless it is only the name of a build (``pull_policy`` build or never)
    services.*.pre_start[].image        and post_start, pre_stop
    services.*.volumes[]                ``type: image``: its source
    services.*.build                    a :class:`Build`; also cache_from, additional_contexts, sbom
    models.*.model, provider of type model

With both ``build`` and ``image`` Compose pulls the image first (build.md, "Using build and image"), so it counts.
A build is completed by what its service extends in the same file. Aliases and ``<<`` are followed; ``x-…`` is
not looked at but through them. Values are interpolated; what depends on a name without a value is a problem.

Each file is read by itself: several ``-f`` files are not merged, so that what one overrides is looked at too.
Other files (``include``, ``extends`` with ``file``) are a problem unless the caller says that it checks them.
Tags (``!reset``, ``!override``) are refused.
"""

from __future__ import annotations

from imgsign.images.compose.envfile import EnvFile, parse_env_file
from imgsign.images.compose.services import scan

__all__ = ["EnvFile", "parse_env_file", "scan"]
