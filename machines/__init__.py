"""Several machines, each a Dask worker: by them the lab starts and ends processes, and nothing else.

Only what is run with ``--cluster`` imports this package: Dask is an optional requirement.
"""
