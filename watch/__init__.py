"""``lab watch``: a page on this machine that shows a running system, and lets one play with it.

A watched thing (:mod:`watch.system`, :mod:`watch.scaling`) is sampled once a second into a
:class:`~watch.hub.Hub`, which every open page follows by server-sent events; its buttons are `POST`s
that :mod:`watch.web` hands to the watched thing. Whatever starts a process runs in the main thread
(:mod:`watch.main_thread`).
"""
