"""Certificates of made-up firms for tests of TLS between SIP servers."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from ubiety.net import authority
from ubiety.net.authority import Files
from ubiety.net.sip_tls import SipTls


@dataclass(frozen=True)
class Identity:
    """A certificate chain and its key."""

    certificate: Path
    key: Path

    def tls(self, *trusted: Path) -> SipTls:
        """What a stack with this certificate needs."""
        return SipTls(lambda: (self.certificate, self.key), trusted)


class Authority:
    """An authority in a directory of its own, which signs what it is asked to."""

    def __init__(self, directory: Path, name: str = "example.org") -> None:
        directory.mkdir(parents=True)
        self._files = Files(directory)
        authority.make_authority(self._files, name, time.time())

    @property
    def ca(self) -> Path:
        """The authority's own certificate."""
        return self._files.ca

    def issue(self, *names: str) -> Identity:
        """Sign a certificate for these names; the first is its common name."""
        authority.issue(self._files, names, time.time())
        directory = self._files.directory
        stem = names[0].replace("*", "_").replace(":", "_")
        identity = Identity(directory / f"{stem}.pem", directory / f"{stem}-key.pem")
        shutil.move(self._files.certificate, identity.certificate)
        shutil.move(self._files.key, identity.key)
        return identity
