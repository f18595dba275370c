"""The fault lab: faults are injected under load, and every request is accounted for (``lab faults``)."""
