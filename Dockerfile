# A node of any middleware: `docker compose --profile nodes up` says which.
FROM python:3.12-slim
WORKDIR /lab
COPY requirements.txt .
RUN pip install --no-cache-dir -r requirements.txt
COPY lab lab
COPY xmlrpc xmlrpc
COPY pyro4 pyro4
COPY redis_impl redis_impl
COPY rabbitmq rabbitmq
RUN useradd --system lab
USER lab
CMD ["python", "-m", "redis_impl.insult_service", "--help"]
