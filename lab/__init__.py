"""What the four middlewares share: contract, applications, store, launcher, brokers, command line."""

from lab.bootstrap import explain_errors

explain_errors()
