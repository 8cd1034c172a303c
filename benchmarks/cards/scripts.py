"""What experiments on a real card do: by the driver's own library alone, or with PyTorch.

Each is formatted with ``held``, the bytes of one piece of memory, ``mark``, a file that is made by
who computes first, and ``packages``, directories that hold PyTorch.
"""

from __future__ import annotations

#: Says what it sees of the cards: the driver's word, whatever framework is there.
LOOK = """
import ctypes, json, os, sys, uuid
sys.path += {packages!r}
cuda = ctypes.CDLL("libcuda.so.1")

def call(name, *arguments):
    status = getattr(cuda, name)(*arguments)
    if status:
        said = ctypes.c_char_p()
        cuda.cuGetErrorName(status, ctypes.byref(said))
        sys.exit(name + ": " + (said.value or b"%d" % status).decode())

def number(name):
    found = ctypes.c_int()
    call(name, ctypes.byref(found))
    return found.value

def card(place):
    device, name, raw = ctypes.c_int(), ctypes.create_string_buffer(96), (ctypes.c_ubyte * 16)()
    call("cuDeviceGet", ctypes.byref(device), place)
    call("cuDeviceGetName", name, 96, device)
    # The older one tells the card that an instance is a part of.
    newer = "cuDeviceGetUuid_v2"
    call(newer if hasattr(cuda, newer) else "cuDeviceGetUuid", raw, device)
    return [name.value.decode(), str(uuid.UUID(bytes=bytes(raw)))]

NO_DEVICE = 100
status = cuda.cuInit(0)
if status not in (0, NO_DEVICE):
    call("cuInit", 0)
cards = [] if status else [card(place) for place in range(number("cuDeviceGetCount"))]
named = {{name: os.environ.get(name) for name in (
    "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")}}
seen = {{"cards": cards, "cuda": number("cuDriverGetVersion"), **named}}
print("SAW", json.dumps(seen), flush=True)
"""
#: Goes on once: after it was killed there is nothing to do.
_ONCE = """
if os.path.exists({mark!r}):
    sys.exit()
open({mark!r}, "x").close()
"""
_MEMORY = """
context = ctypes.c_void_p()
call("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
call("cuCtxSetCurrent", context)

def piece():
    place = ctypes.c_uint64()
    call("cuMemAlloc_v2", ctypes.byref(place), ctypes.c_size_t({held}))
    return place
"""
_TORCH = """
import torch
print("PYTORCH", torch.__version__, flush=True)
"""
#: Computes until it is killed, with memory of a known size.
COMPUTE = (
    LOOK
    + _ONCE
    + _MEMORY
    + """
held, told = piece(), False
while True:
    for value in range(100):
        call("cuMemsetD8_v2", held, ctypes.c_ubyte(value), ctypes.c_size_t({held}))
    call("cuCtxSynchronize")
    if not told:
        print("COMPUTES", os.getpid(), flush=True)
        told = True
"""
)
COMPUTE_WITH_TORCH = (
    LOOK
    + _ONCE
    + _TORCH
    + """
held = torch.empty({held}, dtype=torch.uint8, device="cuda")
matrix = torch.ones((2048, 2048), device="cuda")
told = False
while True:
    matrix = (matrix @ matrix).clamp(0, 1)
    torch.cuda.synchronize()
    if not told:
        print("COMPUTES", os.getpid(), flush=True)
        told = True
"""
)
#: Takes all that there is, and more.
GREEDY = (
    LOOK
    + _MEMORY
    + """
taken = []
while True:
    taken.append(piece())
"""
)
GREEDY_WITH_TORCH = (
    LOOK
    + _TORCH
    + """
taken = []
while True:
    taken.append(torch.empty({held}, dtype=torch.uint8, device="cuda"))
"""
)
