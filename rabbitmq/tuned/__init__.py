"""What the tuned programs over RabbitMQ are made of. Only these modules and stock.py use pika."""
