"""What the four middlewares share: contract, applications, store, launcher, brokers, command line."""
