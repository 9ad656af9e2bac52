"""Options of object stores, in two spellings: that of fsspec, and that of the library which keeps the log of a table."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from workbench.errors import WorkbenchError

# scheme as people write it: that of the library of Delta tables, and its names of the options of fsspec
S3 = {
    "key": "AWS_ACCESS_KEY_ID",
    "secret": "AWS_SECRET_ACCESS_KEY",
    "token": "AWS_SESSION_TOKEN",
    "endpoint_url": "AWS_ENDPOINT_URL",
    "region_name": "AWS_REGION",
    "profile": "AWS_PROFILE",
}
GOOGLE = {"token": "GOOGLE_SERVICE_ACCOUNT"}
AZURE = {
    "account_name": "AZURE_STORAGE_ACCOUNT_NAME",
    "account_key": "AZURE_STORAGE_ACCOUNT_KEY",
    "sas_token": "AZURE_STORAGE_SAS_TOKEN",
    "client_id": "AZURE_STORAGE_CLIENT_ID",
    "client_secret": "AZURE_STORAGE_CLIENT_SECRET",
    "tenant_id": "AZURE_STORAGE_TENANT_ID",
}
STORES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "s3": ("s3", S3),
    "s3a": ("s3a", S3),
    "gs": ("gs", GOOGLE),
    "gcs": ("gs", GOOGLE),
    "az": ("az", AZURE),
    "abfs": ("abfs", AZURE),
    "abfss": ("abfss", AZURE),
    "file": ("file", {}),
    "local": ("file", {}),
}
INNER = ("endpoint_url", "region_name")  # fsspec has them in client_kwargs
TRUE = {True, "true", "True", "1"}


def both(address: str, options: Mapping[str, Any]) -> tuple[str, dict[str, Any], dict[str, str]]:
    """An address for the library of Delta tables, and options in either spelling as fsspec's and as that library's.

    Raises WorkbenchError for an address at which the library cannot keep a table.

    >>> both("s3://logs/t", {"key": "me", "client_kwargs": {"endpoint_url": "http://127.0.0.1:9000"}})[2]["AWS_ALLOW_HTTP"]
    'true'
    >>> both("s3://logs/t", {"AWS_ACCESS_KEY_ID": "me"})[1]
    {'key': 'me'}
    """
    if "://" not in address and "::" not in address:
        return address, dict(options), {}
    protocol = address.partition("://")[0]
    if protocol not in STORES:
        raise WorkbenchError(
            f"{address!r} cannot hold a table with versions: its log needs a folder, or a store whose writes can be conditional "
            "(s3://, gs://, az://, abfss://)"
        )
    scheme, names = STORES[protocol]
    back = {theirs.lower(): ours for ours, theirs in names.items()}
    given = {**options, **options.get("client_kwargs", {})}
    ours: dict[str, Any] = {}
    theirs: dict[str, str] = {}
    for key, value in given.items():
        name = key if key in names else back.get(key.lower(), "")
        if key == "client_kwargs":
            continue
        if name:
            ours[name], theirs[names[name]] = value, str(value)
        elif key.isupper():
            theirs[key] = str(value)
        else:
            ours[key] = value
    if names is S3:
        _s3(ours, theirs)
    inner = {key: ours.pop(key) for key in INNER if key in ours and names is S3}
    known = dict(options.get("client_kwargs", {})) | inner
    return scheme + address[len(protocol) :], {**ours, **({"client_kwargs": known} if known else {})}, theirs


def _s3(ours: Mapping[str, Any], theirs: dict[str, str]) -> None:
    """What a store that speaks S3 needs besides: unsigned requests, plain HTTP where its address says so, any region."""
    if ours.get("anon") in TRUE:
        theirs["AWS_SKIP_SIGNATURE"] = "true"
    endpoint = theirs.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT_URL", "")
    if endpoint.startswith("http://"):
        theirs.setdefault("AWS_ALLOW_HTTP", "true")
    if endpoint and not os.environ.get("AWS_REGION") and not os.environ.get("AWS_DEFAULT_REGION"):
        theirs.setdefault("AWS_REGION", "us-east-1")
