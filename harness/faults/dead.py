"""Read the dead letters of a system: texts put aside because they killed their workers, with a reason."""

import json
from typing import NamedTuple

import pika

from harness.faults.site import Site
from lab.middleware import MIDDLEWARES
from lab.store import open_store
from lab.store.redis_store import connect

MOST = 1_000


class Letter(NamedTuple):
    """A text that was put aside."""

    token: str
    reason: str


def dead_letters(site: Site) -> list[Letter]:
    """Return the dead letters of a filter, wherever its middleware keeps them."""
    broker = MIDDLEWARES[site.spec.middleware].broker
    if broker == "rabbitmq":
        return _in_queue(site.brokers.urls.amqp, f"{site.namespace}.{site.spec.application}.dead")
    if broker == "redis":
        return _in_list(site.brokers.urls.redis, f"{site.namespace}:{site.spec.application}:dead")
    store = open_store(site.brokers.urls.redis, site.namespace)
    try:
        return [Letter(_token(text), reason) for _, text, reason in store.dead_letters(MOST)]
    finally:
        store.close()


def _in_list(url: str, name: str) -> list[Letter]:
    with connect(url) as redis:
        raws = redis.lrange(name, 0, MOST)
    letters = []
    for raw in raws:
        letter = json.loads(raw)
        petition = letter.get("petition", letter)
        petition = json.loads(petition) if isinstance(petition, str) else petition
        letters.append(Letter(_token(str(petition.get("data", ""))), str(letter.get("reason", ""))))
    return letters


def _in_queue(url: str, name: str) -> list[Letter]:
    """Look at the queue; what is read is put back when the connection closes."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    letters: list[Letter] = []
    while len(letters) < MOST:
        method, properties, body = channel.basic_get(name)
        if method is None or body is None:
            break
        reason = ((properties.headers if properties else None) or {}).get("lab-reason", "")
        letters.append(Letter(_token(body.decode()), str(reason)))
    connection.close()
    return letters


def _token(text: str) -> str:
    return text.partition(" ")[0]
