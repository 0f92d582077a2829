#include "device/cuda/internal.h"

#include "core/checked.h"
#include "core/host_memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LEAST_MAJOR 8          /* SM 8.0: bf16 on tensor cores, and cuDNN's attention */
#define HEAD_ROOM (512u << 20) /* left free: what libraries load when first used, and a display's needs */
#define HEAD_ROOM_SHARE 32
#define HOST_SHARE                                                                          \
    5 /* of the host's free memory all but a fifth: pinned pages are nobody else's any more \
       */

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
        l->cu.cuDevicePrimaryCtxRelease(c->number);
        if (c->lost) {
            l->cu.cuDevicePrimaryCtxReset(c->number);
        }
    }
    pthread_mutex_destroy(&c->lock);
    free(c);
}

static void device_caps(bl_device *d, bl_device_caps *out) {
    bl_cuda *c = (bl_cuda *)d;
    size_t left = 0, all = 0;
    uint64_t host_left, host_all;
    bl_host_memory(&host_left, &host_all);
    *out = (bl_device_caps){.kind = BL_DEVICE_GPU,
                            .memory_bytes = c->memory_bytes,
                            .alignment = BL_ALIGN,
                            .f32 = true,
                            .bf16 = true,
                            .bf16_fast = true,
                            .async_copy = true,
                            .arena_levels = 1,
                            .host_store = true,
                            .host_bytes = host_all,
                            .host_free_bytes = host_left / HOST_SHARE * (HOST_SHARE - 1)};
    memcpy(out->name, c->name, sizeof out->name);
    if (!c->lost && !c->libs->cu.cuCtxSetCurrent(c->context) && !c->libs->cu.cuMemGetInfo(&left, &all)) {
        uint64_t room = c->memory_bytes / HEAD_ROOM_SHARE;
        room = room < HEAD_ROOM ? room : HEAD_ROOM;
        c->free_bytes = left > room ? left - room : 0;
    }
    out->free_bytes = c->free_bytes; /* of a card that was lost what it had: opening a region tells */
}

static const bl_device_ops cuda_ops = {
    .version = BL_DEVICE_VERSION,
    .name = "cuda",
    .close = device_close,
    .caps = device_caps,
    .module_open = bl_cuda_module_open,
    .module_close = bl_cuda_module_close,
    .module_costs = bl_cuda_module_costs,
    .prepare = bl_cuda_prepare,
    .executable_close = bl_cuda_executable_close,
    .executable_info = bl_cuda_executable_info,
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
    if (*end || n < 0 || n > 1023 || (*which && (*which < '0' || *which > '9'))) {
        return bl_fail(err, BL_E_ARGUMENT,
                       "cuda: no card \"%.40s\"; they are numbered from 0: cuda:1 is the second", which);
    }
    *out = (int)n;
    return 0;
}

/* "NVIDIA H100 80GB HBM3, SM 9.0, cuDNN 9.19.0, cuBLASLt 13.1.0" */
static int find_card(bl_cuda *c, int number, bl_error *err) {
    const bl_cuda_driver *cu = &c->libs->cu;
    int count = 0;
    size_t bytes = 0;
    char card[64] = "";
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
    rc = rc ? rc : bl_cuda_check(c, cu->cuDeviceGetName(card, sizeof card, c->number), "the card", err);
    rc = rc ? rc
            : bl_cuda_check(c, cu->cuDeviceGetAttribute(&c->major, BL_CU_MAJOR, c->number), "the card", err);
    rc = rc ? rc
            : bl_cuda_check(c, cu->cuDeviceGetAttribute(&c->minor, BL_CU_MINOR, c->number), "the card", err);
    rc = rc ? rc : bl_cuda_check(c, cu->cuDeviceTotalMem(&bytes, c->number), "the card", err);
    if (!rc && c->major < LEAST_MAJOR) {
        rc = bl_fail(err, BL_E_UNSUPPORTED,
                     "cuda: %s has SM %d.%d; cards from SM 8.0 on (RTX 30) are supported", card, c->major,
                     c->minor);
    }
    c->memory_bytes = bytes;
    snprintf(c->name, sizeof c->name, "%s, SM %d.%d, cuDNN %zu.%zu.%zu, cuBLASLt %zu.%zu.%zu", card, c->major,
             c->minor, c->libs->cudnn / 10000, c->libs->cudnn / 100 % 100, c->libs->cudnn % 100,
             c->libs->cublaslt / 10000, c->libs->cublaslt / 100 % 100, c->libs->cublaslt % 100);
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
    if (!rc) {
        rc = bl_cuda_check(c, libs->cu.cuDevicePrimaryCtxRetain(&c->context, c->number), "the card's context",
                           err);
        c->context = rc ? NULL : c->context;
    }
    rc = rc ? rc : bl_cuda_enter(c, err);
    rc = rc ? rc : bl_cuda_streams_open(c, err);
    rc = rc ? rc : bl_cuda_check_dnn(c, libs->dnn.cudnnCreate(&c->dnn), "starting cuDNN", err);
    rc = rc ? rc : bl_cuda_check_lt(c, libs->lt.cublasLtCreate(&c->lt), "starting cuBLASLt", err);
    if (rc) {
        device_close(&c->head);
        return rc;
    }
    *out = &c->head;
    return 0;
}
