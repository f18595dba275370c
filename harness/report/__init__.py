"""Sentences, tables, plots and the page: what a person reads of a run."""
