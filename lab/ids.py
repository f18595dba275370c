"""Operation ids: unique without asking anybody."""

import itertools
import os
import secrets

_prefix = secrets.token_hex(6)
_counter = itertools.count(1)


def new_operation_id() -> str:
    """Return an id that no other process and no earlier call has given."""
    return f"{_prefix}-{next(_counter):x}"


def _renew_prefix() -> None:
    """Let a forked process differ from the one it came from."""
    global _prefix
    _prefix = secrets.token_hex(6)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_prefix)
