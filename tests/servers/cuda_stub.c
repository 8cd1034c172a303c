/* CUDA's driver library over the cards of nvml_stub.c: what of it benchmarks/cards/scripts.py calls.
 *
 * Compiled for one file of cards, NVML_FILE. A process sees what CUDA_VISIBLE_DEVICES names by UUID.
 * Memory is a line "card 0 lives PID SIZE SIGN" of that file, as long as the process holds SIGN.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define MOST 8
enum { OK = 0, OUT_OF_MEMORY = 2, NO_DEVICE = 100 };

static int seen[MOST], count;

/* The value of the line "card PLACE NAME ", or nothing. */
static int value_of(int place, const char *name, char *value, size_t size) {
    char line[512], wanted[64];
    int length = snprintf(wanted, sizeof wanted, "card %d %s ", place, name), found = 0;
    FILE *file = fopen(NVML_FILE, "r");
    while (file && !found && fgets(line, sizeof line, file)) {
        if (strncmp(line, wanted, length)) continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(value, size, "%s", line + length);
        found = 1;
    }
    if (file) fclose(file);
    return found;
}

int cuInit(unsigned flags) {
    (void)flags;
    const char *named = getenv("CUDA_VISIBLE_DEVICES");
    char uuid[96];
    count = 0;
    for (int place = 0; place < MOST && named; place++)
        if (value_of(place, "uuid", uuid, sizeof uuid) && strstr(named, uuid)) seen[count++] = place;
    return count ? OK : NO_DEVICE;
}

int cuDriverGetVersion(int *version) { return *version = 12040, OK; }
int cuDeviceGetCount(int *number) { return *number = count, OK; }
int cuDeviceGet(int *device, int place) { return *device = seen[place], OK; }

int cuDeviceGetName(char *name, int size, int device) {
    return value_of(device, "name", name, size) ? OK : NO_DEVICE;
}

/* "GPU-" and the sixteen bytes in hexadecimal, with dashes. */
int cuDeviceGetUuid_v2(unsigned char *raw, int device) {
    char uuid[96];
    if (!value_of(device, "uuid", uuid, sizeof uuid)) return NO_DEVICE;
    const char *next = uuid + 4;
    for (int byte = 0; byte < 16; byte++) {
        if (*next == '-') next++;
        unsigned number = 0;
        sscanf(next, "%2x", &number);
        raw[byte] = number, next += 2;
    }
    return OK;
}

int cuDevicePrimaryCtxRetain(void **context, int device) { return *context = &seen[device], OK; }
int cuCtxSetCurrent(void *context) { return (void)context, OK; }
int cuCtxSynchronize(void) { return usleep(1000), OK; }

int cuMemAlloc_v2(unsigned long long *place, size_t size) {
    static size_t taken;
    char memory[64], sign[512];
    if (!value_of(seen[0], "memory", memory, sizeof memory)) return NO_DEVICE;
    if (taken + size > strtoull(memory, NULL, 10)) return OUT_OF_MEMORY;
    taken += size;
    snprintf(sign, sizeof sign, "%s.%d", NVML_FILE, (int)getpid());
    FILE *file = fopen(NVML_FILE, "a");
    if (flock(open(sign, O_CREAT | O_RDWR | O_CLOEXEC, 0600), LOCK_SH) || !file) return NO_DEVICE;
    fprintf(file, "card %d lives %d %zu %s\n", seen[0], (int)getpid(), size, sign);
    fclose(file);
    return *place = taken, OK;
}

int cuMemsetD8_v2(unsigned long long place, unsigned char value, size_t size) {
    return (void)place, (void)value, (void)size, OK;
}

int cuGetErrorName(int status, const char **name) {
    *name = status == OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_NO_DEVICE";
    return OK;
}
