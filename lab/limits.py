"""The limits that every wire keeps. Sizes are UTF-8 bytes unless the name says otherwise."""

MAX_INSULT_CHARACTERS = 200
MAX_TEXT_BYTES = 64 * 1024
MAX_REQUEST_BYTES = 1024 * 1024
"""A whole request as it stands on the wire."""
MAX_REPLY_BYTES = 512 * 1024
"""Pages and batches stop here and say that there is more."""
MAX_PAGE = 1000
"""Insults or results in one page."""
MAX_BATCH = 1000
"""Calls in one multicall or batch."""
MAX_OPERATION_ID_CHARACTERS = 128
MAX_URI_CHARACTERS = 2048
MAX_RESULTS = 100_000
RESULT_TTL_SECONDS = 3600
DEFAULT_DEADLINE_SECONDS = 5.0
MAX_TIMEOUT_SECONDS = 86_400.0
"""The longest deadline or timeout that a client takes: a day."""
SUBSCRIPTION_RENEWAL_SECONDS = 3.0
"""How often our subscribers renew. So they are called again this soon after somebody deleted the list."""
SUBSCRIPTION_LEASE_SECONDS = 30.0
BROADCAST_INTERVAL_SECONDS = 5.0
DRAIN_SECONDS = 5.0
