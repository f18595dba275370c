"""The lab over RabbitMQ: events and texts on queues.

Kind: indirect; not blocking (many requests under way); decoupled in time and in space.
Broker: RabbitMQ; n nodes share their state in Redis, one node has it in memory.
Load balancing: all nodes consume one queue, and the broker gives each as much as it can take (prefetch).
Delivery: at least once by manual acknowledgement after effect and reply; effect exactly once by id.
    What kills its workers, or fails too often, ends among the dead letters.
Broadcast: a fanout exchange, and a queue for each subscriber, kept for two minutes while it is away.
"""
