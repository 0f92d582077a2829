/* One region on the card, and host memory for packed blocks. */
#include "device/cuda/internal.h"

#include "core/checked.h"
#include "core/size_text.h"

#include <stdlib.h>
#include <unistd.h>

void bl_cuda_reach(uint64_t *end, uint64_t other) {
    *end = other > *end ? other : *end;
}

int bl_cuda_region_open(bl_region **out, bl_device *d, uint64_t bytes, bl_error *err) {
    *out = NULL;
    bl_cuda *c = (bl_cuda *)d;
    bl_region *r = calloc(1, sizeof *r);
    if (!r) {
        return bl_fail_memory(err, "a region", sizeof *r);
    }
    r->c = c;
    r->bytes = bl_align_up(bytes ? bytes : 1, BL_ALIGN);
    r->host = (bl_host){.c = c, .region = r, .bytes = r->bytes};
    int rc = bl_cuda_enter(c, err);
    rc = rc ? rc
            : bl_cuda_check(c, c->libs->cu.cuMemAlloc(&r->base, r->bytes), "weights and activations", err);
    if (rc) {
        free(r);
        return rc;
    }
    c->region_bytes += r->bytes;
    *out = r;
    return 0;
}

void bl_cuda_region_close(bl_region *r) {
    r->c->region_bytes -= r->bytes;
    r->c->libs->cu.cuCtxSetCurrent(r->c->context);
    r->c->libs->cu.cuMemFree(r->base);
    free(r);
}

void bl_cuda_region_used(bl_region *r, bl_region_use *out) {
    out->end = bl_align_up(r->used.end, BL_ALIGN);
    out->arena = bl_align_up(r->used.arena, BL_ALIGN);
    r->used = (bl_region_use){0};
}

bl_host *bl_cuda_region_host(bl_region *r) {
    return &r->host;
}

int bl_cuda_host_open(bl_host **out, bl_device *d, uint64_t bytes, bool pinned, bl_error *err) {
    *out = NULL;
    bl_cuda *c = (bl_cuda *)d;
    bl_host *h = calloc(1, sizeof *h);
    void *memory = NULL;
    if (!h) {
        return bl_fail_memory(err, "the host store", sizeof *h);
    }
    int rc = bl_cuda_enter(c, err);
    if (!rc && pinned) { /* any no is an answer: limits of the user, of WSL, of the system */
        rc = c->libs->cu.cuMemHostAlloc(&memory, bytes ? bytes : 1, 0)
                 ? bl_fail(err, BL_E_MEMORY, "cuda: %s cannot be pinned", bl_size_of(bytes).text)
                 : 0;
    } else if (!rc) {
        memory = aligned_alloc((size_t)sysconf(_SC_PAGESIZE),
                               bl_align_up(bytes ? bytes : 1, (uint64_t)sysconf(_SC_PAGESIZE)));
        rc = memory ? 0 : bl_fail_memory(err, "the host store", bytes);
        if (!rc && bl_cuda_slots_open(c, NULL)) {
            bl_log_line(c->head.log, BL_LOG_DEBUG, "cuda: no memory can be pinned: copies make others wait");
        }
    }
    if (rc) {
        free(h);
        return rc;
    }
    *h = (bl_host){.c = c, .memory = memory, .bytes = bytes, .pinned = pinned};
    *out = h;
    return 0;
}

void bl_cuda_host_close(bl_host *h) {
    h->c->libs->cu.cuCtxSetCurrent(h->c->context);
    if (h->pinned) {
        h->c->libs->cu.cuMemFreeHost(h->memory);
    } else {
        free(h->memory);
    }
    free(h);
}

/* A copy engine finishes one command before it looks at another stream's: so none is large. */
#define PIECE (32u << 20)

static int copy_piece(bl_cuda *c, bl_cu_pointer to, const void *from, uint64_t bytes, bl_cu_stream stream,
                      bl_error *err) {
    return bl_cuda_check(c, c->libs->cu.cuMemcpyHtoDAsync(to, from, bytes, stream), "a copy of weights", err);
}

/* From memory that is not pinned CUDA copies while the caller waits. So it goes through the slots: one stream
 * fills them, the other empties them. */
static int copy_by_slots(bl_cuda *c, bl_cu_pointer to, const unsigned char *from, uint64_t bytes,
                         bl_cu_stream stream, bl_error *err) {
    const bl_cuda_driver *cu = &c->libs->cu;
    int rc = bl_cuda_check(c, cu->cuEventRecord(c->asked, stream), "an event", err);
    rc = rc ? rc : bl_cuda_check(c, cu->cuStreamWaitEvent(c->stage, c->asked, 0), "a wait", err);
    for (uint64_t at = 0; at < bytes && !rc; at += BL_CUDA_SLOT_BYTES) {
        uint64_t piece = bytes - at < BL_CUDA_SLOT_BYTES ? bytes - at : BL_CUDA_SLOT_BYTES;
        bl_cuda_slot *slot = &c->slot[c->next_slot++ % BL_CUDA_SLOTS];
        rc = slot->used ? bl_cuda_check(c, cu->cuStreamWaitEvent(c->stage, slot->free, 0), "a wait", err) : 0;
        rc = rc ? rc : bl_cuda_put_copy(c, c->stage, slot->memory, from + at, piece, err);
        rc = rc ? rc : bl_cuda_check(c, cu->cuEventRecord(slot->filled, c->stage), "an event", err);
        rc = rc ? rc : bl_cuda_check(c, cu->cuStreamWaitEvent(stream, slot->filled, 0), "a wait", err);
        rc = rc ? rc : copy_piece(c, to + at, slot->memory, piece, stream, err);
        rc = rc ? rc : bl_cuda_check(c, cu->cuEventRecord(slot->free, stream), "an event", err);
        slot->used = slot->used || !rc;
    }
    return rc;
}

int bl_cuda_copy(bl_device_module *m, int block, const bl_host *from, uint64_t from_offset, bl_region *r,
                 uint64_t offset, bl_stream stream, bl_error *err) {
    bl_cuda *c = m->c;
    uint64_t bytes = m->costs[block].packed_bytes;
    if (!from->memory || offset % BL_ALIGN || from_offset > from->bytes ||
        bytes > from->bytes - from_offset || offset > r->bytes || bytes > r->bytes - offset) {
        return bl_fail(err, BL_E_INTERNAL, "block %d is copied from or to a place outside", block);
    }
    const unsigned char *memory = from->memory + from_offset;
    int rc = bl_cuda_enter(c, err);
    if (!rc && !from->pinned && c->slot[BL_CUDA_SLOTS - 1].free) {
        rc = copy_by_slots(c, r->base + offset, memory, bytes, c->stream[stream], err);
    } else {
        for (uint64_t at = 0; at < bytes && !rc; at += PIECE) {
            uint64_t piece = bytes - at < PIECE ? bytes - at : PIECE;
            rc = copy_piece(c, r->base + offset + at, memory + at, piece, c->stream[stream], err);
        }
    }
    bl_cuda_reach(&r->used.end, offset + bytes);
    bl_cuda_work(c, stream);
    return rc;
}

int bl_cuda_slots_open(bl_cuda *c, bl_error *err) {
    int rc = 0;
    for (int i = 0; i < BL_CUDA_SLOTS && !rc; i++) {
        void *memory = NULL;
        if (!c->slot[i].memory) {
            rc = bl_cuda_check(c, c->libs->cu.cuMemHostAlloc(&memory, BL_CUDA_SLOT_BYTES, 0), "pinned memory",
                               err);
            c->slot[i].memory = memory;
        }
        if (!rc && !c->slot[i].filled) {
            rc = bl_cuda_check(c, c->libs->cu.cuEventCreate(&c->slot[i].filled, 0), "an event", err);
        }
        if (!rc && !c->slot[i].free) {
            rc = bl_cuda_check(c, c->libs->cu.cuEventCreate(&c->slot[i].free, BL_CU_EVENT_BLOCKING_SYNC),
                               "an event", err);
        }
    }
    return rc;
}

void bl_cuda_slots_close(bl_cuda *c) {
    for (int i = 0; i < BL_CUDA_SLOTS; i++) {
        if (c->slot[i].filled) {
            c->libs->cu.cuEventDestroy(c->slot[i].filled);
        }
        if (c->slot[i].free) {
            c->libs->cu.cuEventDestroy(c->slot[i].free);
        }
        if (c->slot[i].memory) {
            c->libs->cu.cuMemFreeHost(c->slot[i].memory);
        }
    }
}
