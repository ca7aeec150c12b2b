"""The platform's signing identity for provenance: a root and a leaf certificate under it, created once and kept private.

Videos are signed with it (`c2pa`); consent is signed with people's own keys.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

# Without a time stamp a signed file turns invalid when the leaf expires, so the leaf outlives what it signs.
YEARS = 20


@dataclass(frozen=True)
class Identity:
    """A signing certificate: paths of PEM files, the keys with mode 0600."""

    chain: Path
    key: Path
    root: Path


def make_certificate(folder: Path, organisation: str = "Rushes") -> Identity:
    """The identity kept in `folder`, created there on first use: a root of its own and a leaf under it (ES256).

    The files appear together, by one rename; of two processes at the same time, the second uses the first one's.
    """
    home = Path(folder) / "c2pa"
    identity = Identity(home / "chain.pem", home / "leaf.key", home / "root.pem")
    if identity.chain.is_file():
        return identity
    Path(folder).mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder, prefix=".c2pa-"))  # mode 0700
    try:
        _write_identity(draft, organisation)
        draft.rename(home)
    except OSError:
        if not identity.chain.is_file():  # else another process was faster
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return identity


def _write_identity(folder: Path, organisation: str) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    root_key, leaf_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root = _certificate(f"{organisation} root", organisation, root_key, None, root_key)
    leaf = _certificate(f"{organisation} signing", organisation, leaf_key, root, root_key)
    pem = serialization.Encoding.PEM
    (folder / "root.pem").write_bytes(root.public_bytes(pem))
    (folder / "chain.pem").write_bytes(leaf.public_bytes(pem) + root.public_bytes(pem))
    for name, key in (("root.key", root_key), ("leaf.key", leaf_key)):
        secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        with os.fdopen(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(secret)


def _certificate(
    name: str,
    organisation: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Certificate | None,
    issuer_key: ec.EllipticCurvePrivateKey,
) -> x509.Certificate:
    """A root when `issuer` is None, else a leaf with the extensions that C2PA's certificate profile asks for."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    is_root = issuer is None
    subject = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation), x509.NameAttribute(NameOID.COMMON_NAME, name)]
    )
    now = dt.datetime.now(dt.UTC)
    denied = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    usage = dict.fromkeys((*denied, "encipher_only", "decipher_only"), False)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(days=365 * YEARS))
        .add_extension(x509.BasicConstraints(ca=is_root, path_length=0 if is_root else None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=not is_root, key_cert_sign=is_root, crl_sign=is_root, **usage),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if not is_root:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())
