"""``python -m lab.tether PARENT COMMAND...``: become COMMAND, killed by the kernel when PARENT ends."""

import os
import sys

from lab.lifeline import die_with

if __name__ == "__main__":
    die_with(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
