/* Regions and host memory that hold nothing but the knowledge of what would lie in them. */
#include "device/sim/internal.h"

#include "core/checked.h"

#include <stdlib.h>

int bl_sim_region_open(bl_region **out, bl_device *d, uint64_t bytes, bl_error *err) {
    *out = NULL;
    sim *s = (sim *)d;
    uint64_t taken = s->open_bytes + s->faults.vanished_bytes;
    if (taken > s->card.memory_bytes || bytes > s->card.memory_bytes - taken) {
        s->vanished = true;
        return bl_fail_memory(err, "the device's region", bytes);
    }
    bl_region *r = calloc(1, sizeof *r);
    if (!r) {
        return bl_fail_memory(err, "a simulated region", sizeof *r);
    }
    r->memory = (bl_host){.s = s, .bytes = bytes, .losses = s->losses, .region = r};
    s->open_bytes += bytes;
    s->peak_bytes = s->open_bytes > s->peak_bytes ? s->open_bytes : s->peak_bytes;
    *out = r;
    return 0;
}

void bl_sim_region_close(bl_region *r) {
    r->memory.s->open_bytes -= r->memory.bytes;
    bl_sim_contents_free(&r->memory.contents);
    free(r);
}

void bl_sim_region_used(bl_region *r, bl_region_use *out) {
    *out = r->used;
    r->used = (bl_region_use){0};
}

bl_host *bl_sim_region_host(bl_region *r) {
    return r->memory.s->card.host_bytes ? NULL : &r->memory;
}

int bl_sim_host_open(bl_host **out, bl_device *d, uint64_t bytes, bool pinned, bl_error *err) {
    *out = NULL;
    sim *s = (sim *)d;
    if ((pinned && s->faults.refuse_pinned) || s->host_bytes > s->card.host_bytes ||
        bytes > s->card.host_bytes - s->host_bytes) {
        return bl_fail_memory(err, "the host store", bytes);
    }
    bl_host *h = calloc(1, sizeof *h);
    if (!h) {
        return bl_fail_memory(err, "a simulated host store", sizeof *h);
    }
    *h = (bl_host){.s = s, .bytes = bytes, .losses = s->losses};
    s->host_bytes += bytes;
    *out = h;
    return 0;
}

void bl_sim_host_close(bl_host *h) {
    h->s->host_bytes -= h->bytes;
    bl_sim_contents_free(&h->contents);
    free(h);
}

static void reach(uint64_t *end, uint64_t other) {
    *end = bl_align_up(other > *end ? other : *end, BL_ALIGN);
}

static bool inside(const bl_host *h, uint64_t offset, uint64_t bytes) {
    return offset <= h->bytes && bytes <= h->bytes - offset;
}

/* What the device lost is not there. */
static void notice_loss(bl_host *h) {
    if (h->losses != h->s->losses) {
        bl_sim_contents_free(&h->contents);
        h->losses = h->s->losses;
    }
}

/* Notes that a block is being written. */
static int fill(bl_host *h, const bl_device_module *m, int block, uint64_t offset, bl_sim_work w,
                bl_error *err) {
    uint64_t bytes = m->costs[block].packed_bytes;
    notice_loss(h);
    if (h->region) {
        reach(&h->region->used.end, offset + bytes);
    }
    bl_sim_span span = {.offset = offset,
                        .bytes = bytes,
                        .module = m->serial,
                        .block = block,
                        .whole = w.happens,
                        .ready = w.end};
    return bytes ? bl_sim_contents_put(&h->contents, span, err) : 0;
}

/* Whether a block lies there, whole, at the time when it is read. */
static int check(const bl_host *h, const bl_device_module *m, int block, uint64_t offset, double when,
                 const char *what, bl_error *err) {
    const bl_sim_span *x = bl_sim_contents_at(&h->contents, offset);
    if (!m->costs[block].packed_bytes) {
        return 0;
    }
    if (h->losses != h->s->losses || !x || x->module != m->serial || x->block != block || !x->whole) {
        return bl_fail(err, BL_E_INTERNAL, "%s of block %d reads other bytes at %llu", what, block,
                       (unsigned long long)offset);
    }
    if (x->ready > when + 1e-9) {
        return bl_fail(err, BL_E_INTERNAL, "%s of block %d begins at %g s, before it has arrived at %g s",
                       what, block, when, x->ready);
    }
    return 0;
}

int bl_sim_pack(bl_device_module *m, int block, bl_host *to, uint64_t offset, bl_stream stream,
                bl_error *err) {
    sim *s = m->s;
    const bl_block_cost *cost = &m->costs[block];
    if (!inside(to, offset, cost->packed_bytes)) {
        return bl_fail(err, BL_E_INTERNAL, "block %d is put outside the region", block);
    }
    if (to->region && ++s->copies == s->faults.fail_copy) {
        return bl_fail(err, BL_E_DEVICE, "copy %d of block %d failed, as scripted", s->copies, block);
    }
    double seconds = to->region ? s->card.copy_latency + (double)cost->packed_bytes / s->card.copy_rate
                                : s->card.file_latency + (double)cost->source_bytes / s->card.file_rate;
    bl_sim_work w = {0};
    int rc = 0;
    if (to->region) {
        rc = bl_sim_put_copy(&w, s, stream, seconds, "packing", block, err);
    } else {
        w = bl_sim_put(s, stream, seconds, "packing", block);
    }
    return rc ? rc : fill(to, m, block, offset, w, err);
}

int bl_sim_copy(bl_device_module *m, int block, const bl_host *from, uint64_t from_offset, bl_region *r,
                uint64_t offset, bl_stream stream, bl_error *err) {
    sim *s = m->s;
    uint64_t bytes = m->costs[block].packed_bytes;
    if (!inside(from, from_offset, bytes) || !inside(&r->memory, offset, bytes)) {
        return bl_fail(err, BL_E_INTERNAL, "block %d is copied from or to a place outside", block);
    }
    if (++s->copies == s->faults.fail_copy) {
        return bl_fail(err, BL_E_DEVICE, "copy %d of block %d failed, as scripted", s->copies, block);
    }
    double seconds = s->card.copy_latency + (double)bytes / s->card.copy_rate;
    bl_sim_work w;
    int rc = bl_sim_put_copy(&w, s, stream, seconds, "a copy", block, err);
    rc = rc || !w.happens ? rc : check(from, m, block, from_offset, w.start, "a copy", err);
    return rc ? rc : fill(&r->memory, m, block, offset, w, err);
}

int bl_sim_run(bl_executable *x, int block, const bl_binding *b, bl_stream stream, bl_error *err) {
    sim *s = x->m->s;
    bl_host *memory = &b->region->memory;
    uint64_t offset = b->block_offset[block], bytes = x->m->costs[block].packed_bytes;
    if (!inside(memory, b->arena_offset, x->arena_bytes) || !inside(memory, offset, bytes) ||
        offset < b->arena_offset + x->arena_bytes) {
        return bl_fail(err, BL_E_INTERNAL,
                       "block %d runs with its weights in the arena or outside the region", block);
    }
    if (++s->runs == s->faults.fail_run) {
        return bl_fail(err, BL_E_DEVICE, "run %d of block %d failed, as scripted", s->runs, block);
    }
    reach(&b->region->used.arena, x->arena_bytes);
    reach(&b->region->used.end, b->arena_offset + x->arena_bytes);
    reach(&b->region->used.end, offset + bytes);
    bl_sim_contents_clear(&memory->contents, b->arena_offset, x->arena_bytes);
    const bl_block_cost *cost = &x->m->costs[block];
    double widen = x->widen ? x->widen[block] : 0, seconds = x->seconds[block];
    if (cost->wide_bytes && cost->packed_bytes == cost->wide_bytes) { /* it is wide already */
        seconds -= widen;
        widen = 0;
    }
    x->widening += widen;
    seconds = bl_sim_beside_copies(s, stream, seconds);
    bl_sim_work w = bl_sim_put(s, stream, seconds, "the run", block);
    return w.happens ? check(memory, x->m, block, offset, w.start, "the run", err) : 0;
}
