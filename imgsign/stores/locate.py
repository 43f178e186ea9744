"""Finding the store of a repository."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from imgsign.reference import Repository
from imgsign.stores import Store

if TYPE_CHECKING:
    from imgsign.transport import Transport
    from imgsign.transport.config.host_files import HostFiles
    from imgsign.transport.credentials import Credential
    from imgsign.transport.places import Places


class Registries:
    """Finds every repository at the registry its name says; one transport, so one pool and one token cache.

    HTTP is imported when the first repository is asked for: work on an OCI layout does without.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        *,
        insecure_http: frozenset[str] = frozenset(),
        trusted_realms: frozenset[str] = frozenset(),
        deadline: float | None = None,
        mirrors: Sequence[str] = (),
        ca: Sequence[str] = (),
        note: Callable[[str], None] = lambda text: None,
        patient: bool = False,
    ) -> None:
        """Use the credentials and proxies that ``environ`` names; plain http to ``insecure_http`` hosts.

        ``trusted_realms``: token servers that may see credentials though they are not of a registry's domain.
        ``deadline``: seconds of ``time.monotonic`` after which no registry is asked any more. ``mirrors``:
        ``[HOST[/PATH]=]MIRROR[/PATH]``, in place of those that files name. ``ca``: files of further
        certificate authorities. ``note`` is called with one line, from any thread, for each mirror that was
        passed over. ``patient``: see ``Transport``.
        """
        self._patient = patient
        self._environ = environ
        self._insecure_http = insecure_http
        self._trusted_realms = trusted_realms
        self._deadline = deadline
        self._mirrors = tuple(mirrors)
        self._ca = tuple(ca)
        self._note = note
        self._said: set[str] = set()

    @cached_property
    def transport(self) -> Transport:
        """The one transport of all stores found here."""
        from imgsign.transport import Transport

        return Transport(
            environ=self._environ,
            insecure_http=self._insecure_http,
            trusted_realms=self._trusted_realms,
            deadline=self._deadline,
            ca=self._ca,
            patient=self._patient,
        )

    @cached_property
    def hosts(self) -> HostFiles:
        """What this machine says about hosts; each file is read once."""
        from imgsign.transport.config.host_files import HostFiles
        from imgsign.transport.places import MirrorOption

        return HostFiles(self._environ, mirrors=tuple(MirrorOption.parse(m) for m in self._mirrors))

    def __call__(self, repository: Repository) -> Store:
        """Return the store of a repository; nothing is requested yet.

        Raises:
            RegistryError: the repository is blocked by a configuration file.
            Malformed: a configuration file cannot be used; the message names it and the key.
        """
        return store_at(self.hosts.places(repository), self.transport, self.note)

    def note(self, text: str) -> None:
        """Pass on what a person should know, each line once."""
        if text not in self._said:
            self._said.add(text)
            self._note(text)

    def login(self, repository: Repository) -> Credential | None:
        """Who one is for a repository, by the environment: for an engine that pulls for us.

        Raises:
            AuthenticationFailed: a place of credentials cannot be used.
            Unavailable: the deadline has passed.
        """
        from imgsign.transport.credentials import Credentials

        return Credentials(self._environ).find(repository.registry, repository.path, left=self.transport.left())


def store_at(places: Places, transport: Transport, note: Callable[[str], None]) -> Store:
    """Make the store of the places of one repository."""
    from imgsign.stores.mirrored import MirroredStore
    from imgsign.stores.remote import RemoteStore

    for text in places.notes:
        note(text)
    if places.is_plain:
        return RemoteStore(places.registry.repository, transport.at(places.registry))
    return MirroredStore(places, transport, lambda place, t: RemoteStore(place.repository, t.at(place)), note)
