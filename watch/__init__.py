"""``lab watch``: a page on this machine that shows a running system, and lets you play with it.

What is watched (:mod:`watch.system`, :mod:`watch.scaling`) is sampled once a second. The samples go into a
:class:`~watch.hub.Hub`, which every open page follows by server-sent events. A button sends a `POST`;
:mod:`watch.web` hands it to what is watched. All processes are started by the main thread
(:mod:`watch.hub`).
"""
