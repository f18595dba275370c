"""How anything is measured: loads, experiments, records, analysis, faults and the report."""
