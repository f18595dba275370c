"""Become COMMAND; it gets SIGNAL when PARENT ends: ``-m lab.process.tether PARENT SIGNAL COMMAND...``."""

import os
import sys
from signal import Signals

from lab.process.lifeline import die_with

if __name__ == "__main__":
    parent, how, *command = sys.argv[1:]
    die_with(int(parent), Signals[how])
    os.execvp(command[0], command)
