"""An experiment that tries what it must not be able to do, and tells what it could."""

from __future__ import annotations

#: Arguments: the mark in two pieces, and a file of JSON with what it is to try. It writes what it
#: succeeded in into its model directory; a process that it left behind has ``lingers-KEY`` as name.
HOSTILE = r"""
import json, os, subprocess, sys, time
mark, plan = (sys.argv[1] + sys.argv[2]).encode(), json.loads(sys.argv[3])
done = {}

def holds(path):
    try:
        with open(path, "rb", 0) as file:
            return mark in file.read(1 << 20)
    except OSError:
        return False

def writes(path):
    try:
        os.chmod(os.path.dirname(path), 0o755)
    except OSError:
        pass
    try:
        with open(path, "wb") as file:
            file.write(b"spoilt")
        with open(path, "rb") as file:
            return file.read() == b"spoilt"
    except OSError:
        return False

def may_signal(pids):
    found = False
    for pid in pids:
        try:
            os.kill(pid, 0)
            found = True
        except OSError:
            pass
    return found

def command(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except OSError:
        return b""

def others():
    pids = (int(name) for name in os.listdir("/proc") if name.isdigit())
    return [pid for pid in pids if pid != os.getpid()]

done["read a credential"] = any(map(holds, plan["credentials"]))
done["read what lies in the daemon's home"] = holds(plan["home"])
done["read another experiment's files"] = holds(plan["neighbour"]) or any(
    holds(f"/proc/{pid}/cwd/../modeldir/mine") for pid in others()
)
done["read another experiment's variables"] = any(
    b"train.py" in command(pid) and holds(f"/proc/{pid}/environ") for pid in others()
)
done["read the daemon's variables"] = any(
    b"-m\0runner" in command(pid) and holds(f"/proc/{pid}/environ") for pid in others()
)
done["see the processes of the machine"] = any(b"-m\0runner" in command(pid) for pid in others())
done["end the daemon"] = may_signal(p for p in others() if b"-m\0runner" in command(p))
done["end its supervisor"] = may_signal(p for p in others() if b"supervisor/main.py" in command(p))
done["end another experiment"] = may_signal(p for p in others() if b"train.py" in command(p))
shared = next(path for path in sys.path if "/environments/" in path)
done["write into the shared environment"] = writes(os.path.join(shared, "spoilt.py"))
done["write into the artifact cache"] = writes(os.path.join(plan["cache"], "spoilt"))
done["write into another experiment's files"] = writes(
    plan["neighbour"] + ".spoilt"
) or any(writes(f"/proc/{pid}/cwd/../modeldir/mine.spoilt") for pid in others())
writes(plan["left"])
with open("/proc/self/status") as file:
    done["gain powers by setuid programs"] = "NoNewPrivs:\t1" not in file.read()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 100)
        os.execv(sys.executable, [plan["lingers"], "-c", "import time; time.sleep(1000)"])
    os._exit(0)
os.wait()
with open("../modeldir/seen", "w") as file:
    json.dump(done, file)
"""
#: Has a secret in its variables and in its directory, and stays until it is told to go.
NEIGHBOUR = """
import os, time
with open("../modeldir/mine", "w") as file:
    file.write(os.environ["TOKEN"])
print("begun", flush=True)
while True:
    time.sleep(1)
"""
