"""Measure, record, draw: load generators that check every reply, the record of a run, and its plots."""
