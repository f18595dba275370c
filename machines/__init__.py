"""Several machines, each a Dask worker. The lab uses the workers only to start and end processes.

Only what is run with ``--cluster`` imports this package: Dask is an optional requirement.
"""
