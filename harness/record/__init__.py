"""What was measured, kept as data: ``harness.record.read(DIR)`` returns it as a table."""

from pathlib import Path


def read(folder: Path | str) -> list[dict[str, object]]:
    """Return the windows of the run in *folder*, a dictionary each, as ``pandas.DataFrame`` takes them."""
    from harness.record.journal import RECORD, read_run  # these two load a lot
    from harness.record.table import rows

    return rows(read_run(Path(folder) / RECORD))
