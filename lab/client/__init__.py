"""What the clients of all middlewares share: deadlines, retries, fail-over, subscriptions."""
