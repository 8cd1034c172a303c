/* A stand-in for the driver's library. What it answers is in the file $NVML_STUB, read anew at every
 * call and written by nvml.py beside this file; a line is a key of several words, then its value:
 *
 *   driver 550.54.15          card 0 uuid GPU-...           card 0/1 uuid MIG-...  (its 1st part)
 *   cuda 12040                card 0 memory 24152899584     card 0 process compute 4711 1048576
 *   generation 1              card 0 xid 7 79               (the 7th of all, number 79)
 *   count 2                   near 0 1 10   nvlink 0 1 1    (a topology level; both ways)
 *   fault NODE FUNCTION CODE  where * stands for any, and a negative code never answers
 *   card 0 lives 4711 1048576 computes, and uses memory beyond "used", as long as that process lives
 *   card 0 lives 4711 1048576 /f   likewise, as long as somebody holds /f with flock: in a pid
 *                                  namespace a process does not know the number that we see
 */
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NO_PERMISSION = 4,
    NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, TIMEOUT = 10, UNKNOWN = 999, PARTS = 64, CARDS = 64
};
typedef unsigned long long Wide;
typedef void *Handle;
typedef struct { Wide total, free, used; } Memory;
typedef struct { unsigned version; Wide total, reserved, free, used; } Memory2;
typedef struct { unsigned gpu, memory; } Utilization;
typedef struct { unsigned pid; Wide memory; unsigned instance, compute; } Process;
typedef struct { Handle device; Wide type, data; unsigned instance, compute; } Event;
typedef struct {
    char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32];
} Pci;

static long generation = -1;
static char watched[CARDS];
static long told[CARDS];

/* The value of the nth line that begins with the key. */
static int value_of(char *value, size_t size, int nth, const char *format, ...) {
    char key[160], line[512];
    const char *path = getenv("NVML_STUB");
    FILE *file = path ? fopen(path, "r") : NULL;
    va_list words;
    if (!file) return 0;
    va_start(words, format);
    vsnprintf(key, sizeof key, format, words);
    va_end(words);
    while (fgets(line, sizeof line, file)) {
        size_t length = strlen(key);
        if (strncmp(line, key, length) || line[length] != ' ' || nth-- > 0) continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(value, size, "%s", line + length + 1);
        fclose(file);
        return 1;
    }
    fclose(file);
    return 0;
}
static long number(const char *key, long otherwise) {
    char value[160];
    return value_of(value, sizeof value, 0, "%s", key) ? atol(value) : otherwise;
}
static unsigned card_of(Handle handle) { return (unsigned)(((Wide)handle - 1) / PARTS); }
static unsigned part_of(Handle handle) { return (unsigned)(((Wide)handle - 1) % PARTS); }
static Handle handle_of(unsigned card, unsigned part) {
    return (Handle)((Wide)card * PARTS + part + 1);
}
static const char *node_of(Handle handle, char *node, size_t size) {
    if (part_of(handle)) snprintf(node, size, "%u/%u", card_of(handle), part_of(handle));
    else snprintf(node, size, "%u", card_of(handle));
    return node;
}
static int fault_at(Handle handle, const char *function) {
    char node[32] = "*", value[32];
    if (handle) {
        if (value_of(value, sizeof value, 0, "fault %s %s", node_of(handle, node, 32), function)
            || value_of(value, sizeof value, 0, "fault %s *", node)
            || value_of(value, sizeof value, 0, "fault %u *", card_of(handle)))
            return atoi(value);
    }
    if (value_of(value, sizeof value, 0, "fault * %s", function)
        || value_of(value, sizeof value, 0, "fault * *"))
        return atoi(value);
    return SUCCESS;
}
/* What every call does first. */
static int called(Handle handle, const char *function) {
    int code;
    while ((code = fault_at(handle, function)) < 0) usleep(10000);
    if (code == SUCCESS && generation != number("generation", -1)) return UNINITIALIZED;
    return code;
}
#define CALLED(handle) do { int code_ = called(handle, __func__); if (code_) return code_; } while (0)

static int text(Handle handle, const char *name, char *value, unsigned size) {
    char node[32];
    node_of(handle, node, sizeof node);
    return value_of(value, size, 0, "card %s %s", node, name) ? SUCCESS : NOT_SUPPORTED;
}
static int count(Handle handle, const char *name, Wide *value) {
    char found[64];
    int code = text(handle, name, found, sizeof found);
    if (code == SUCCESS) *value = strtoull(found, NULL, 10);
    return code;
}
static int small(Handle handle, const char *name, unsigned *value) {
    Wide found = 0;
    int code = count(handle, name, &found);
    if (code == SUCCESS) *value = (unsigned)found;
    return code;
}

int nvmlInitWithFlags(unsigned flags) {
    int code;
    (void)flags;
    while ((code = fault_at(NULL, __func__)) < 0) usleep(10000);
    if (code) return code;
    generation = number("generation", -1);
    return generation < 0 ? NO_PERMISSION : SUCCESS;
}
int nvmlShutdown(void) { CALLED(NULL); generation = -1; return SUCCESS; }
const char *nvmlErrorString(int code) { return code == UNKNOWN ? "Unknown Error" : "Refused"; }

int nvmlSystemGetDriverVersion(char *version, unsigned size) {
    CALLED(NULL);
    return value_of(version, size, 0, "driver") ? SUCCESS : NOT_SUPPORTED;
}
int nvmlSystemGetCudaDriverVersion_v2(int *version) {
    CALLED(NULL);
    *version = (int)number("cuda", 0);
    return *version ? SUCCESS : NOT_SUPPORTED;
}
int nvmlDeviceGetCount_v2(unsigned *cards) {
    CALLED(NULL);
    *cards = (unsigned)number("count", 0);
    return SUCCESS;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, Handle *handle) {
    CALLED(handle_of(index, 0));
    if (index >= (unsigned)number("count", 0)) return INVALID_ARGUMENT;
    *handle = handle_of(index, 0);
    return SUCCESS;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, Handle *handle) {
    char found[96];
    CALLED(NULL);
    for (unsigned card = 0; card < (unsigned)number("count", 0); card++)
        for (unsigned part = 0; part < PARTS; part++) {
            *handle = handle_of(card, part);
            if (text(*handle, "uuid", found, sizeof found)) break;
            if (!strcmp(found, uuid)) return called(*handle, __func__);
        }
    return NOT_FOUND;
}
int nvmlDeviceGetName(Handle handle, char *name, unsigned size) {
    CALLED(handle);
    return text(handle, "name", name, size);
}
int nvmlDeviceGetUUID(Handle handle, char *uuid, unsigned size) {
    CALLED(handle);
    return text(handle, "uuid", uuid, size);
}
int nvmlDeviceGetMinorNumber(Handle handle, unsigned *minor) {
    CALLED(handle);
    return part_of(handle) ? NOT_SUPPORTED : small(handle, "minor", minor);
}
static int is_held(const char *path) {
    int file = open(path, O_RDONLY), held = file >= 0 && flock(file, LOCK_EX | LOCK_NB);
    if (file >= 0) close(file);
    return held;
}
/* The nth process that lives still. */
static int living(Handle handle, int nth, Process *process) {
    char node[32], value[512], path[400];
    node_of(handle, node, sizeof node);
    for (int line = 0; value_of(value, sizeof value, line, "card %s lives", node); line++) {
        *process = (Process){0, 0, ~0u, ~0u};
        int words = sscanf(value, "%u %llu %399s", &process->pid, &process->memory, path);
        int lives = words == 3 ? is_held(path) : !kill((pid_t)process->pid, 0);
        if (lives && nth-- == 0) return 1;
    }
    return 0;
}
static Wide used(Handle handle) {
    Wide sum = 0;
    Process one;
    count(handle, "used", &sum);
    for (int nth = 0; living(handle, nth, &one); nth++) sum += one.memory;
    return sum;
}
int nvmlDeviceGetMemoryInfo(Handle handle, Memory *memory) {
    CALLED(handle);
    memory->used = used(handle);
    int code = count(handle, "memory", &memory->total);
    memory->free = memory->total - memory->used;
    return code;
}
int nvmlDeviceGetMemoryInfo_v2(Handle handle, Memory2 *memory) {
    CALLED(handle);
    memory->used = used(handle);
    memory->reserved = 0;
    int code = count(handle, "memory", &memory->total);
    memory->free = memory->total - memory->used;
    return code;
}
int nvmlDeviceGetMigMode(Handle handle, unsigned *current, unsigned *pending) {
    CALLED(handle);
    int code = small(handle, "mig", current);
    *pending = *current;
    return code;
}
int nvmlDeviceGetMaxMigDeviceCount(Handle handle, unsigned *parts) {
    CALLED(handle);
    *parts = 7;
    return SUCCESS;
}
int nvmlDeviceGetMigDeviceHandleByIndex(Handle handle, unsigned index, Handle *part) {
    char uuid[96];
    CALLED(handle);
    *part = handle_of(card_of(handle), index + 1);
    return text(*part, "uuid", uuid, sizeof uuid) ? NOT_FOUND : SUCCESS;
}
int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(Handle part, Handle *handle) {
    CALLED(part);
    *handle = handle_of(card_of(part), 0);
    return SUCCESS;
}
int nvmlDeviceGetGpuInstanceId(Handle part, unsigned *instance) {
    CALLED(part);
    *instance = part_of(part);
    return *instance ? SUCCESS : INVALID_ARGUMENT;
}
int nvmlDeviceGetComputeInstanceId(Handle part, unsigned *instance) {
    CALLED(part);
    *instance = 0;
    return SUCCESS;
}
static int processes(Handle handle, const char *kind, unsigned *room, Process *process) {
    char node[32], value[96];
    unsigned found = 0;
    node_of(handle, node, sizeof node);
    while (value_of(value, sizeof value, (int)found, "card %s process %s", node, kind)) {
        if (process && found < *room) {
            Process one = {0, 0, ~0u, ~0u};
            sscanf(value, "%u %llu", &one.pid, &one.memory);
            process[found] = one;
        }
        found++;
    }
    Process one;
    for (int nth = 0; *kind == 'c' && living(handle, nth, &one); nth++, found++)
        if (process && found < *room) process[found] = one;
    int code = found > (process ? *room : 0) ? INSUFFICIENT_SIZE : SUCCESS;
    *room = found;
    return code;
}
int nvmlDeviceGetComputeRunningProcesses_v3(Handle handle, unsigned *room, Process *process) {
    CALLED(handle);
    return processes(handle, "compute", room, process);
}
int nvmlDeviceGetGraphicsRunningProcesses_v3(Handle handle, unsigned *room, Process *process) {
    CALLED(handle);
    return processes(handle, "graphics", room, process);
}
int nvmlDeviceGetUtilizationRates(Handle handle, Utilization *rates) {
    CALLED(handle);
    rates->memory = 0;
    return small(handle, "utilization", &rates->gpu);
}
int nvmlDeviceGetTemperature(Handle handle, unsigned sensor, unsigned *degrees) {
    (void)sensor;
    CALLED(handle);
    return small(handle, "temperature", degrees);
}
int nvmlDeviceGetPowerUsage(Handle handle, unsigned *milliwatts) {
    CALLED(handle);
    return small(handle, "power", milliwatts);
}
int nvmlDeviceGetTotalEccErrors(Handle handle, unsigned type, unsigned counter, Wide *errors) {
    CALLED(handle);
    return type == 1 && counter == 0 ? count(handle, "ecc", errors) : NOT_SUPPORTED;
}
int nvmlDeviceGetRetiredPagesPendingStatus(Handle handle, unsigned *pending) {
    CALLED(handle);
    return small(handle, "retiring", pending);
}
int nvmlDeviceGetRemappedRows(Handle handle, unsigned *corrected, unsigned *uncorrected,
                              unsigned *pending, unsigned *failed) {
    CALLED(handle);
    *corrected = *uncorrected = 0;
    int code = small(handle, "remapping", pending);
    return code ? code : small(handle, "remap_failed", failed);
}

static int pair(char *value, size_t size, const char *key, Handle one, Handle other) {
    unsigned a = card_of(one), b = card_of(other);
    return value_of(value, size, 0, "%s %u %u", key, a, b)
        || value_of(value, size, 0, "%s %u %u", key, b, a);
}
int nvmlDeviceGetTopologyCommonAncestor(Handle one, Handle other, unsigned *level) {
    char value[32];
    CALLED(one);
    CALLED(other);
    if (!pair(value, sizeof value, "near", one, other)) return NOT_SUPPORTED;
    *level = (unsigned)atoi(value);
    return SUCCESS;
}
int nvmlDeviceGetP2PStatus(Handle one, Handle other, unsigned capability, unsigned *status) {
    char value[32];
    CALLED(one);
    CALLED(other);
    *status = capability == 2 && pair(value, sizeof value, "nvlink", one, other) ? 0 : 4;
    return SUCCESS;
}
static void address(unsigned card, Pci *pci) {
    memset(pci, 0, sizeof *pci);
    pci->bus = card + 1;
    snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:%02X:00.0", card + 1);
}
int nvmlDeviceGetPciInfo_v3(Handle handle, Pci *pci) {
    CALLED(handle);
    address(card_of(handle), pci);
    return SUCCESS;
}
/* One link to each card, by its index. */
static int linked(Handle handle, unsigned link) {
    char value[32];
    return link < (unsigned)number("count", 0)
        && pair(value, sizeof value, "nvlink", handle, handle_of(link, 0));
}
int nvmlDeviceGetNvLinkState(Handle handle, unsigned link, unsigned *active) {
    CALLED(handle);
    if (link >= 18) return INVALID_ARGUMENT;
    *active = (unsigned)linked(handle, link);
    return SUCCESS;
}
int nvmlDeviceGetNvLinkRemotePciInfo_v2(Handle handle, unsigned link, Pci *pci) {
    CALLED(handle);
    if (!linked(handle, link)) return NOT_SUPPORTED;
    address(link, pci);
    return SUCCESS;
}

/* The first Xid of a card after the one that was told last; its place in the row of all. */
static long next_xid(unsigned card, long after, unsigned *code) {
    char value[64];
    for (int nth = 0; value_of(value, sizeof value, nth, "card %u xid", card); nth++) {
        long place = 0;
        if (sscanf(value, "%ld %u", &place, code) == 2 && place > after) return place;
    }
    return 0;
}
int nvmlEventSetCreate(Handle *set) {
    CALLED(NULL);
    memset(watched, 0, sizeof watched);
    *set = watched;
    return SUCCESS;
}
int nvmlEventSetFree(Handle set) { (void)set; CALLED(NULL); return SUCCESS; }
int nvmlDeviceGetSupportedEventTypes(Handle handle, Wide *types) {
    CALLED(handle);
    *types = 8;
    return SUCCESS;
}
int nvmlDeviceRegisterEvents(Handle handle, Wide types, Handle set) {
    unsigned card = card_of(handle), code;
    long place;
    (void)set;
    CALLED(handle);
    if (types != 8 || part_of(handle) || card >= CARDS) return NOT_SUPPORTED;
    watched[card] = 1;
    while ((place = next_xid(card, told[card], &code))) told[card] = place;
    return SUCCESS;
}
int nvmlEventSetWait_v2(Handle set, Event *event, unsigned milliseconds) {
    (void)set; (void)milliseconds;
    CALLED(NULL);
    for (unsigned card = 0; card < CARDS && card < (unsigned)number("count", 0); card++) {
        unsigned code = 0;
        long place = watched[card] ? next_xid(card, told[card], &code) : 0;
        if (!place) continue;
        told[card] = place;
        *event = (Event){handle_of(card, 0), 8, code, ~0u, ~0u};
        return SUCCESS;
    }
    return TIMEOUT;
}
