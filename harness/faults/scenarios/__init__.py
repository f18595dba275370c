"""The lines of the table of what is promised under faults."""
