"""Certificates for tests: an authority, a server's, a client's, as files and as contexts."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme


class Certificates:
    """One authority and what it vouches for, in a folder of the test."""

    def __init__(self, folder: Path) -> None:
        self._authority = trustme.CA()
        self._server = self._authority.issue_cert("localhost", "127.0.0.1")
        self._folder = folder
        client = self._authority.issue_cert("worker@example.org")
        self.ca, self.cert = folder / "ca.pem", folder / "cert.pem"
        self.key = folder / "key.pem"
        self.other_ca = folder / "other.pem"
        self._authority.cert_pem.write_to_path(str(self.ca))
        trustme.CA().cert_pem.write_to_path(str(self.other_ca))
        client.private_key_pem.write_to_path(str(self.key))
        for number, blob in enumerate(client.cert_chain_pems):
            blob.write_to_path(str(self.cert), append=number > 0)

    def server_files(self) -> tuple[Path, Path]:
        """A server's certificate and its key as files; another one at each call, in their place."""
        issued = self._authority.issue_cert("localhost", "127.0.0.1")
        cert, key = self._folder / "server.pem", self._folder / "server-key.pem"
        issued.private_key_pem.write_to_path(str(key))
        for number, blob in enumerate(issued.cert_chain_pems):
            blob.write_to_path(str(cert), append=number > 0)
        return cert, key

    def server(self, *, asks_for_client: bool = False) -> ssl.SSLContext:
        """Settings of a server; one that ``asks_for_client`` takes none without a certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._server.configure_cert(context)
        if asks_for_client:
            self._authority.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context
