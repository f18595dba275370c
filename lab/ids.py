"""Operation ids: unique without asking anybody."""

import itertools
import secrets

_prefix = secrets.token_hex(6)
_counter = itertools.count(1)


def new_operation_id() -> str:
    """Return an id that no other process and no earlier call has given."""
    return f"{_prefix}-{next(_counter):x}"
