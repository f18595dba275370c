"""Insults behave like a set of Python's, whatever node is killed between the steps."""

import random

import pytest

from harness.faults.site import Brokers, Site, site
from lab.contract import Application, InsultService
from lab.errors import NoInsults
from lab.middleware import MIDDLEWARES
from tests.eventually import eventually

STEPS = 40
KILLS = 4
INSULTS = [
    f"{adjective} {noun}" for adjective in ("vile", "gran") for noun in ("fool", "tonto", "ñu", "knave")
]
DEADLINE_SECONDS = 20.0


@pytest.mark.parametrize("seed", [1])
@pytest.mark.parametrize("middleware", MIDDLEWARES)
def test_insults_are_a_set_whatever_node_dies(brokers: Brokers, middleware: str, seed: int) -> None:
    chance = random.Random(f"{middleware} {seed}")
    deadly = set(chance.sample(range(STEPS), KILLS))
    model: set[str] = set()
    with site(middleware, Application.SERVICE, brokers) as system, system.service(DEADLINE_SECONDS) as client:
        for number in range(STEPS):
            if number in deadly:
                kill_one(system, chance)
            step(client, model, chance, number)
        assert client.get_insults() == sorted(model)


def step(client: InsultService, model: set[str], chance: random.Random, number: int) -> None:
    """Do the same to both, and compare the answers."""
    insult = chance.choice(INSULTS)
    what = chance.choice(("add", "add", "remove", "list", "page", "random"))
    said = f"step {number}: {what} {insult}"
    if what == "add":
        assert client.add_insult(insult) is (insult not in model), said
        model.add(insult)
    elif what == "remove":
        assert client.remove_insult(insult) is (insult in model), said
        model.discard(insult)
    elif what == "list":
        assert client.get_insults() == sorted(model), said
    elif what == "page":
        assert client.get_insults(insult, 2) == sorted(each for each in model if each > insult)[:2], said
    elif model:
        assert client.insult_me() in model, said
    else:
        with pytest.raises(NoInsults):
            client.insult_me()


def kill_one(system: Site, chance: random.Random) -> None:
    """kill -9 a node; its supervisor starts it again while the steps go on."""
    live = eventually(lambda: system.live, within=20.0)
    system.launcher.kill(chance.choice(live))
