"""Who listens on which port of this machine."""

import psutil


def listeners() -> dict[int, set[int]]:
    """Return the process ids that listen on each TCP port, as far as we may see them.

    Outside Linux, only root sees all of them. Processes that we may not see are left out.
    """
    found: dict[int, set[int]] = {}
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return found
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.pid:
            found.setdefault(connection.laddr.port, set()).add(connection.pid)
    return found


def described(pid: int) -> str:
    """Describe the process *pid*: its number and the module or program that it runs."""
    try:
        words = psutil.Process(pid).cmdline()
    except psutil.Error:
        return f"process {pid}"
    module = words[words.index("-m") + 1 :][:1] if "-m" in words else []
    return f"process {pid}, {(module or words or ['?'])[0]}"
