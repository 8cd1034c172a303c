"""The script that owns one run: ``python -I -S main.py RUN_DIRECTORY``.

With room for a directory's name in place of one it is the fork server, which becomes that script
once for each run.

Where there is no fork server it is started for every experiment, so its cost counts: it imports
neither ``json`` nor ``signal`` nor ``subprocess`` before the experiment runs (each brings ``re`` or
``enum`` and 8 to 20 ms).
"""

import os
import sys

# -I leaves out our own directory. Appended, so that nothing beside us can shadow the library.
sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from runner.supervisor.watch import supervise

if __name__ == "__main__":
    directory = os.fsencode(sys.argv[1])
    if directory.startswith(b"-"):
        from runner.supervisor.forkserver import serve

        directory = serve()
    supervise(directory)
    # Everything is on disk, and tearing the interpreter down takes milliseconds.
    os._exit(0)
