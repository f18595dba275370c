"""The tuned variant: ours on the same wire, with limits, effects exactly once under faults, and speed."""
