"""Dynamic scaling of InsultFilter workers on RabbitMQ: policies, a simulator, scores."""
