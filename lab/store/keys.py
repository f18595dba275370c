"""The keys of a namespace in Redis. ``insults:insults`` is the set of insults of the namespace ``insults``.

=================  ============  =====================================================================
key                type          content
=================  ============  =====================================================================
insults            sorted set    the insults, all with score 0: sorted by their bytes
changes            stream        the last 10,000 additions (+) and removals (-), for nodes that follow
subscribers        sorted set    subscriber URIs, scored by when their lease ends (Redis's seconds)
broadcast          string        1 while the broadcast is on
ticks              string        the number of the last tick
ticks:at           string        when that was, in Redis's seconds
broadcaster        string        epoch and owner of the broadcaster that holds the broadcast, for its lease
epoch              string        the last epoch that was given to who took a text or the broadcast
ticks:recent       stream        the last 100 ticks (Redis middleware), for subscribers that were away
waiting            list          petition ids of texts that wait, the oldest at the left
texts              hash          the text of each petition that waits or is taken
taken              sorted set    petition ids that a node took, scored by when its lease ends
holders            hash          of each text ever taken: its epoch, how many leases of it ran out, its owner
owned              sorted set    "owner petition-id" of the texts that are taken, all with score 0
dead               list          texts put aside as JSON [petition id, text, failures], the newest at the left
fenced             string        how many late results were refused
results            hash          the filtered text of each finished petition
results:order      sorted set    petition ids of the result list, scored by when they finished
op:KIND:ID         string        the answer to the operation ID, for 15 minutes (LAB_ID_TTL)
op:resolve:ID      string        JSON: [petition id] it is bound to, then [petition id, text]; or []
=================  ============  =====================================================================
"""


def key(namespace: str, name: str) -> str:
    """Return the key called *name* of *namespace*."""
    return f"{namespace}:{name}"
