"""The plain reference: what a newcomer writes for each middleware, and what `lab bench` divides by.

One file a middleware, one insult of three or one short text a request, nothing tuned. Each file says what it
does not promise; the lab's own systems promise all of it. ``serve`` is the server and prints its address;
``client`` connects and returns what sends until a deadline.
"""

INSULTS = ["tonto", "feo", "gordo"]
TEXT, FILTERED = "hola tonto, adeu", "hola CENSORED, adeu"
"""Both sides of a comparison filter this text for these insults."""


def censor(text: str) -> str:
    """Replace insults the plain way, also inside of words."""
    for insult in INSULTS:
        text = text.replace(insult, "CENSORED")
    return text
