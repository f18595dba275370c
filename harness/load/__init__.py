"""What is sent: workloads, clients and their loops, load generators here and on other machines."""
