"""``python -m lab.tether PARENT SIGNAL COMMAND...``: become COMMAND; it gets SIGNAL when PARENT ends."""

import os
import sys
from signal import Signals

from lab.lifeline import die_with

if __name__ == "__main__":
    parent, how, *command = sys.argv[1:]
    die_with(int(parent), Signals[how])
    os.execvp(command[0], command)
