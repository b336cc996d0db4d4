"""One of several machines that run a stage together: starts its share of the processes and watches them.

Started by `training/launch.py` alone, as a task of a SLURM step, which gets the meeting on its standard input.
"""

from __future__ import annotations

import json
import os
import sys

from ftbench.config.errors import FtbenchError
from ftbench.outputs import Stopped
from ftbench.training.launch import STOPPED, Meeting, run_here


def main() -> int:
    meeting = Meeting(**json.loads(sys.stdin.read()))
    name = os.environ["SLURMD_NODENAME"]
    try:
        run_here(meeting, meeting.machines.index(name))
    except Stopped as stop:
        print(f"{name}: {stop}", flush=True)
        return STOPPED
    except FtbenchError as error:
        print(f"{name}: error: {error}", flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
