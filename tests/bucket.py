"""A bucket behind a real S3-protocol server on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import Request, urlopen


@contextmanager
def bucket(name: str = "rushes") -> Iterator[Any]:
    """A boto3 client for an empty bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1", **keys)
        client.create_bucket(Bucket=name)
        yield client
        urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()  # buckets outlive their server
    finally:
        server.stop()
