"""The pool: a process that forks workers, keeps as many as it is told, and outlives the controller."""
