"""A release: binaries and the templates that are nested, in one folder named by their content."""

from __future__ import annotations

import hashlib
import io
import sys
import time
import zipfile
from pathlib import Path

from botocore.exceptions import ClientError

from deployment.clients import Clients
from deployment.problems import DeployError

TEMPLATES = Path(__file__).resolve().parent.parent
NESTED = ("messaging.yaml", "data.yaml", "functions.yaml", "observe.yaml")
FUNCTIONS = ("create-invoice", "take-payment", "audit-tap")
# Raise it when the zip files are made in another way.
FORMAT = b"1"
COMPLETE = "complete"


class Release:
    """Reads the files at once, so that what is hashed is what is uploaded.

    Without a template it is the demonstration's: its three functions and nested templates. A template
    of somebody's own comes with the names of its functions and nests none of ours.
    """

    def __init__(self, functions_dir: Path, template: Path | None = None, functions: list[str] | None = None) -> None:
        binaries = {name: _binary(functions_dir, name) for name in functions or FUNCTIONS}
        missing = [name for name, binary in binaries.items() if binary is None]
        if missing:
            raise DeployError(f"{functions_dir} lacks {', '.join(missing)}: build the functions first")
        self._binaries = {name: binary.read_bytes() for name, binary in binaries.items()}
        self._nested = {} if template else {name: (TEMPLATES / name).read_bytes() for name in NESTED}
        self.root_template = _text(template or TEMPLATES / "app.yaml")
        digest = hashlib.sha256(FORMAT)
        for name, content in sorted((self._binaries | self._nested).items()):
            digest.update(f"{name} {len(content)} ".encode() + content)
        self.version = f"releases/{digest.hexdigest()[:20]}"

    def upload(self, clients: Clients, bucket: str) -> None:
        """Makes the bucket if need be, and uploads the release unless it is there in full."""
        started = time.monotonic()
        _ensure_bucket(clients, bucket)
        if _exists(clients, bucket, f"{self.version}/{COMPLETE}"):
            return
        for name, content in self._nested.items():
            clients.s3.put_object(Bucket=bucket, Key=f"{self.version}/{name}", Body=content)
        for name, content in self._binaries.items():
            zipped = _zip(content)
            clients.s3.put_object(Bucket=bucket, Key=f"{self.version}/{name}.zip", Body=zipped)
        clients.s3.put_object(Bucket=bucket, Key=f"{self.version}/{COMPLETE}", Body=b"")
        print(f"deploy: uploaded {self.version} ({time.monotonic() - started:.1f} s)", file=sys.stderr, flush=True)


def _binary(functions_dir: Path, name: str) -> Path | None:
    """As cargo leaves it (`NAME`) or as `cargo lambda` does (`NAME/bootstrap`)."""
    places = (functions_dir / name, functions_dir / name / "bootstrap")
    return next((place for place in places if place.is_file()), None)


def _text(template: Path) -> str:
    try:
        return template.read_text()
    except OSError as error:
        raise DeployError(f"cannot read the template {template}: {error.strerror}") from error


def _zip(binary: bytes) -> bytes:
    """The same bytes for the same binary: fixed time, fixed mode."""
    entry = zipfile.ZipInfo("bootstrap", date_time=(2020, 1, 1, 0, 0, 0))
    entry.external_attr = 0o755 << 16
    entry.create_system = 3
    entry.compress_type = zipfile.ZIP_DEFLATED
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(entry, binary, compresslevel=1)
    return buffer.getvalue()


def _ensure_bucket(clients: Clients, bucket: str) -> None:
    try:
        clients.s3.head_bucket(Bucket=bucket)
        return
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("404", "NoSuchBucket"):
            raise DeployError(f"bucket {bucket}: {error}") from error
    place = {} if clients.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": clients.region}}
    try:
        clients.s3.create_bucket(Bucket=bucket, **place)
    except ClientError as error:
        if error.response["Error"]["Code"] != "BucketAlreadyOwnedByYou":
            raise DeployError(f"cannot create bucket {bucket}: {error}") from error
    closed = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    clients.s3.put_public_access_block(
        Bucket=bucket, PublicAccessBlockConfiguration={name: True for name in closed}
    )


def _exists(clients: Clients, bucket: str, key: str) -> bool:
    try:
        clients.s3.head_object(Bucket=bucket, Key=key)
        return True
    except ClientError as error:
        if error.response["Error"]["Code"] in ("404", "NoSuchKey"):
            return False
        raise DeployError(f"cannot read {bucket}/{key}: {error}") from error
