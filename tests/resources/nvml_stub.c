/* A stand-in for the driver's library: its cards are the lines of the file $NVML_STUB, read anew at
 * every call. A line is "uuid|name|memory in MiB"; the name LOST does not answer, HANG never does. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, NO_PERMISSION = 4, GPU_IS_LOST = 15 };

typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { char uuid[96], name[96]; unsigned long long mebibytes; } Card;

static int read_card(unsigned wanted, Card *card) {
    char line[256];
    unsigned found = 0;
    const char *path = getenv("NVML_STUB");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file) return -1;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "%95[^|]|%95[^|]|%llu", card->uuid, card->name, &card->mebibytes) == 3
            && found++ == wanted)
            break;
    fclose(file);
    return (int)found;
}

int nvmlInitWithFlags(unsigned flags) {
    Card card;
    (void)flags;
    return read_card(~0u, &card) < 0 ? NO_PERMISSION : SUCCESS;
}
int nvmlShutdown(void) { return SUCCESS; }
const char *nvmlErrorString(int code) { return code == GPU_IS_LOST ? "GPU is lost" : "refused"; }

int nvmlDeviceGetCount_v2(unsigned *count) {
    Card card;
    *count = (unsigned)read_card(~0u, &card);
    return SUCCESS;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) {
    *handle = (void *)(unsigned long)(index + 1);
    return SUCCESS;
}
static int of_handle(void *handle, Card *card) {
    read_card((unsigned)(unsigned long)handle - 1, card);
    if (!strcmp(card->name, "HANG")) for (;;) pause();
    return strcmp(card->name, "LOST") ? SUCCESS : GPU_IS_LOST;
}
int nvmlDeviceGetName(void *handle, char *name, unsigned length) {
    Card card;
    int code = of_handle(handle, &card);
    if (code == SUCCESS) snprintf(name, length, "%s", card.name);
    return code;
}
int nvmlDeviceGetUUID(void *handle, char *uuid, unsigned length) {
    Card card;
    int code = of_handle(handle, &card);
    if (code == SUCCESS) snprintf(uuid, length, "%s", card.uuid);
    return code;
}
int nvmlDeviceGetMemoryInfo(void *handle, Memory *memory) {
    Card card;
    int code = of_handle(handle, &card);
    memory->total = card.mebibytes << 20;
    memory->free = memory->total;
    memory->used = 0;
    return code;
}
