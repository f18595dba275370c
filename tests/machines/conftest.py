"""Tests of several machines need Dask; it is optional."""

import importlib.util

import pytest

from lab.settings import settings

collect_ignore: list[str] = []
if importlib.util.find_spec("distributed") is None:
    if settings().require_brokers:
        pytest.exit("tests/machines need Dask: pip install -r requirements-cluster.txt", 1)
    print("tests/machines skipped: pip install -r requirements-cluster.txt")
    collect_ignore += ["test_launcher.py", "test_hosts.py"]
