"""What the four middlewares share: contract, applications, store, launcher, brokers, command line."""

from lab.missing import explain_missing_packages

explain_missing_packages()
