#include "device/cuda/internal.h"

#include "core/checked.h"
#include "core/host_memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_CARDS 1024
#define LEAST_MAJOR 8          /* SM 8.0: bf16 on tensor cores, and cuDNN's attention */
#define HEAD_ROOM (512u << 20) /* left free: what libraries load when first used, and a display's needs */
#define HEAD_ROOM_SHARE 32
#define HOST_SHARE                                                                          \
    5 /* of the host's free memory all but a fifth: pinned pages are nobody else's any more \
       */

/* Devices of this process that share a card, and its one context. One that was lost works again once all of
 * them are closed. */
static struct {
    pthread_mutex_t lock;
    int users[MOST_CARDS];
    bool lost[MOST_CARDS];
} shared = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int join_card(bl_cuda *c, bl_error *err) {
    const bl_cuda_driver *cu = &c->libs->cu;
    size_t left = 0, all = 0;
    pthread_mutex_lock(&shared.lock);
    int rc = shared.lost[c->number]
                 ? bl_fail(err, BL_E_DEVICE,
                           "cuda: card %d was lost, and others of this program still have it open: it can be "
                           "opened again once they have closed it",
                           c->number)
                 : bl_cuda_check(c, cu->cuDevicePrimaryCtxRetain(&c->context, c->number),
                                 "the card's context", err);
    c->context = rc ? NULL : c->context;
    shared.users[c->number] += !rc;
    pthread_mutex_unlock(&shared.lock);
    rc = rc ? rc : bl_cuda_enter(c, err);
    rc = rc ? rc : bl_cuda_check(c, cu->cuMemGetInfo(&left, &all), "the card's memory", err);
    c->first_free = left;
    return rc;
}

static void leave_card(bl_cuda *c) {
    const bl_cuda_driver *cu = &c->libs->cu;
    pthread_mutex_lock(&shared.lock);
    shared.lost[c->number] = shared.lost[c->number] || c->lost;
    cu->cuDevicePrimaryCtxRelease(c->number);
    if (!--shared.users[c->number] && shared.lost[c->number]) {
        cu->cuDevicePrimaryCtxReset(c->number);
        shared.lost[c->number] = false;
    }
    pthread_mutex_unlock(&shared.lock);
}

static void device_close(bl_device *d) {
    bl_cuda *c = (bl_cuda *)d;
    const bl_cuda_libs *l = c->libs;
    if (c->context) {
        l->cu.cuCtxSetCurrent(c->context);
        bl_cuda_streams_close(c);
        bl_cuda_loads_free(c, true);
        bl_cuda_slots_close(c);
        bl_cuda_attentions_close(c);
        bl_cuda_convs_close(c);
        bl_cuda_products_close(c);
        bl_cuda_kernels_close(c);
        if (c->lt) {
            l->lt.cublasLtDestroy(c->lt);
        }
        if (c->dnn) {
            l->dnn.cudnnDestroy(c->dnn);
        }
        leave_card(c);
    }
    pthread_mutex_destroy(&c->lock);
    bl_cuda_card_free(&c->card);
    free(c->ran);
    free(c);
}

/* What is left to a region when the driver says that `left` bytes are free. */
static uint64_t less_head_room(const bl_cuda *c, uint64_t left) {
    uint64_t room = c->card.memory_bytes / HEAD_ROOM_SHARE;
    room = room < HEAD_ROOM ? room : HEAD_ROOM;
    return left > room ? left - room : 0;
}

void bl_cuda_caps(bl_device *d, bl_device_caps *out) {
    bl_cuda *c = (bl_cuda *)d;
    size_t left = 0, all = 0;
    uint64_t host_left, host_all;
    bl_host_memory(&host_left, &host_all);
    if (c->planning && c->card.host_bytes) {
        host_left = host_all = c->card.host_bytes;
    }
    *out = (bl_device_caps){.kind = BL_DEVICE_GPU,
                            .memory_bytes = c->card.memory_bytes,
                            .own_bytes = c->own_bytes,
                            .alignment = BL_ALIGN,
                            .f32 = true,
                            .bf16 = true,
                            .bf16_fast = true,
                            .async_copy = true,
                            .arena_levels = 1,
                            .copy_rate = c->card.copy_rate,
                            .copy_slowdown = c->card.copy_slowdown,
                            .file_rate = c->card.file_rate,
                            .host_store = true,
                            .host_bytes = host_all,
                            .host_free_bytes = host_left / HOST_SHARE * (HOST_SHARE - 1)};
    memcpy(out->name, c->name, sizeof out->name);
    snprintf(out->libraries, sizeof out->libraries, "%.255s", *c->libs->from ? c->libs->from : "the system");
    if (c->planning) {
        c->free_bytes = less_head_room(c, c->card.memory_bytes - c->own_bytes);
    } else if (!c->lost && !c->libs->cu.cuCtxSetCurrent(c->context) &&
               !c->libs->cu.cuMemGetInfo(&left, &all)) {
        c->free_bytes = less_head_room(c, left);
    }
    out->free_bytes = c->free_bytes; /* of a card that was lost what it had: opening a region tells */
}

static const bl_device_ops cuda_ops = {
    .version = BL_DEVICE_VERSION,
    .name = "cuda",
    .close = device_close,
    .caps = bl_cuda_caps,
    .module_open = bl_cuda_module_open,
    .module_close = bl_cuda_module_close,
    .module_costs = bl_cuda_module_costs,
    .module_refresh = bl_cuda_module_refresh,
    .prepare = bl_cuda_prepare,
    .executable_close = bl_cuda_executable_close,
    .executable_info = bl_cuda_executable_info,
    .executable_widened = bl_cuda_executable_widened,
    .region_open = bl_cuda_region_open,
    .region_close = bl_cuda_region_close,
    .region_used = bl_cuda_region_used,
    .region_host = bl_cuda_region_host,
    .host_open = bl_cuda_host_open,
    .host_close = bl_cuda_host_close,
    .pack = bl_cuda_pack,
    .copy = bl_cuda_copy,
    .run = bl_cuda_run,
    .event_open = bl_cuda_event_open,
    .event_close = bl_cuda_event_close,
    .event_record = bl_cuda_event_record,
    .stream_wait = bl_cuda_stream_wait,
    .event_wait = bl_cuda_event_wait,
    .event_seconds = bl_cuda_event_seconds,
    .now = bl_cuda_now,
    .sync = bl_cuda_sync,
};

static int parse_number(int *out, const char *which, bl_error *err) {
    char *end = NULL;
    long n = strtol(*which ? which : "0", &end, 10);
    if (*end || n < 0 || n >= MOST_CARDS || (*which && (*which < '0' || *which > '9'))) {
        return bl_fail(err, BL_E_ARGUMENT,
                       "cuda: no card \"%.40s\"; they are numbered from 0: cuda:1 is the second", which);
    }
    *out = (int)n;
    return 0;
}

static int ask(bl_cuda *c, bl_cu_attribute what, int *out, bl_error *err) {
    return bl_cuda_check(c, c->libs->cu.cuDeviceGetAttribute(out, what, c->number), "the card", err);
}

static int ask_card(bl_cuda *c, bl_error *err) {
    bl_cuda_card *card = &c->card;
    int clock = 0, memory_clock = 0, width = 0;
    size_t bytes = 0;
    int rc = bl_cuda_check(c, c->libs->cu.cuDeviceGetName(card->name, sizeof card->name, c->number),
                           "the card", err);
    rc = rc ? rc : ask(c, BL_CU_MAJOR, &card->major, err);
    rc = rc ? rc : ask(c, BL_CU_MINOR, &card->minor, err);
    rc = rc ? rc : ask(c, BL_CU_PROCESSORS, &card->processors, err);
    rc = rc ? rc : ask(c, BL_CU_CLOCK, &clock, err);
    rc = rc ? rc : ask(c, BL_CU_MEMORY_CLOCK, &memory_clock, err);
    rc = rc ? rc : ask(c, BL_CU_BUS_WIDTH, &width, err);
    rc = rc ? rc : bl_cuda_check(c, c->libs->cu.cuDeviceTotalMem(&bytes, c->number), "the card", err);
    if (!rc && card->major < LEAST_MAJOR) {
        rc = bl_fail(err, BL_E_UNSUPPORTED,
                     "cuda: %s has SM %d.%d; cards from SM 8.0 on (RTX 30) are supported", card->name,
                     card->major, card->minor);
    }
    card->memory_bytes = bytes;
    card->memory_rate = 2e3 * memory_clock * width / 8; /* kHz, two transfers a clock; bits */
    bl_cuda_card_guess(card, 1e3 * clock);
    return rc;
}

/* "NVIDIA H100 80GB HBM3, SM 9.0, cuDNN 9.19.0, cuBLASLt 13.1.0" */
void bl_cuda_name(bl_cuda *c) {
    char libraries[64];
    snprintf(libraries, sizeof libraries, "cuDNN %u.%u.%u, cuBLASLt %u.%u.%u",
             (unsigned)(c->libs->cudnn / 10000), (unsigned)(c->libs->cudnn / 100 % 100),
             (unsigned)(c->libs->cudnn % 100), (unsigned)(c->libs->cublaslt / 10000),
             (unsigned)(c->libs->cublaslt / 100 % 100), (unsigned)(c->libs->cublaslt % 100));
    snprintf(c->name, sizeof c->name, "%.40s, SM %hd.%hd, %s", c->card.name, (short)c->card.major,
             (short)c->card.minor, libraries);
}

static int find_card(bl_cuda *c, int number, bl_error *err) {
    const bl_cuda_driver *cu = &c->libs->cu;
    int count = 0;
    bl_cu_result r = cu->cuInit(0);
    if (r == BL_CU_NO_DEVICE) {
        return bl_fail(err, BL_E_NOT_FOUND, "cuda: the NVIDIA driver is here, but it sees no card");
    }
    int rc = bl_cuda_check(c, r, "the driver's start", err);
    rc = rc ? rc : bl_cuda_check(c, cu->cuDeviceGetCount(&count), "counting cards", err);
    if (!rc && number >= count) {
        rc = bl_fail(err, BL_E_NOT_FOUND, "cuda: no card %d; there %s %d", number, count == 1 ? "is" : "are",
                     count);
    }
    rc = rc ? rc : bl_cuda_check(c, cu->cuDeviceGet(&c->number, number), "the card", err);
    rc = rc ? rc : ask_card(c, err);
    bl_cuda_name(c);
    return rc;
}

int bl_cuda_open(bl_device **out, const bl_cuda_libs *libs, const char *which, const bl_log *log,
                 bl_error *err) {
    *out = NULL;
    int number = 0, rc = parse_number(&number, which, err);
    if (rc) {
        return rc;
    }
    bl_cuda *c = calloc(1, sizeof *c);
    if (!c) {
        return bl_fail_memory(err, "the cuda device", sizeof *c);
    }
    c->head = (bl_device){.ops = &cuda_ops, .log = log};
    c->libs = libs;
    pthread_mutex_init(&c->lock, NULL);
    rc = find_card(c, number, err);
    rc = rc ? rc : bl_cuda_measured(c, getenv("BALLAST_CUDA_CARD"), err);
    rc = rc ? rc : join_card(c, err);
    rc = rc ? rc : bl_cuda_streams_open(c, err);
    rc = rc ? rc : bl_cuda_check_dnn(c, libs->dnn.cudnnCreate(&c->dnn), "starting cuDNN", err);
    rc = rc ? rc : bl_cuda_check_lt(c, libs->lt.cublasLtCreate(&c->lt), "starting cuBLASLt", err);
    if (rc) {
        device_close(&c->head);
        return rc;
    }
    bl_cuda_note_own(c);
    *out = &c->head;
    return 0;
}
