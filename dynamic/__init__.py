"""Dynamic scaling of InsultFilter workers on RabbitMQ: policies, a simulator, scores."""

import lab  # noqa: F401  # says what to do where a package is missing
