"""Several machines, each a Dask worker that starts and ends processes for the lab."""
