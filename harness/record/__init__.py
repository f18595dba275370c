"""What was measured: raw times, their summary, and the record of a run."""
