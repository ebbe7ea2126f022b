"""A certificate for the servers of tests, which nobody outside trusts."""

import ssl
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Make one for localhost that signs itself, in *folder*: the file to trust, and a server's context."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / "localhost.pem", folder / "localhost.key"
    public.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return public, server_context(folder)


def server_context(folder: Path) -> ssl.SSLContext:
    """What a server shows the certificate in *folder* with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "localhost.pem", folder / "localhost.key")
    return context


def self_signed(key: rsa.RSAPrivateKey, *, days: int = 1) -> bytes:
    """A certificate for *key*, as PEM: valid since an hour, for *days*."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.amazonaws.com")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM)


def share_trust() -> None:
    """Let the clients of httpx that heed no environment share what they trust.

    Each would read the same file for itself, which takes as long as to start a receiver.
    """
    make, shared = httpx.create_ssl_context, cache(lambda: httpx.create_ssl_context(trust_env=False))

    def made(*, verify: Any, cert: Any, trust_env: bool) -> ssl.SSLContext:  # noqa: ANN401  (httpx's own)
        if verify is True and cert is None and not trust_env:
            return shared()
        return make(verify=verify, cert=cert, trust_env=trust_env)

    vars(httpx._transports.default)["create_ssl_context"] = made
