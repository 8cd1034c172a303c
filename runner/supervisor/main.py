"""The script that owns one run: ``python -I -S main.py RUN_DIRECTORY``.

Started for every experiment, so its cost counts: it imports neither ``json`` nor ``signal`` nor
``subprocess`` before the experiment runs (each brings ``re`` or ``enum`` and 8 to 20 ms).
"""

import os
import sys

# -I leaves out our own directory. Appended, so that nothing beside us can shadow the library.
sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from runner.supervisor.watch import supervise

if __name__ == "__main__":
    supervise(os.fsencode(sys.argv[1]))
    # Everything is on disk, and tearing the interpreter down takes milliseconds.
    os._exit(0)
