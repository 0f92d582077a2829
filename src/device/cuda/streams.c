/* Streams, events and what fails late. Each stream of the contract is one of CUDA's, none of them the legacy
 * one. LOAD has host functions on it, which read files and pack. What failed is known by its number on its
 * stream; an event knows how many works of each stream lie before it. */
#include "device/cuda/internal.h"

#include "core/clock.h"

#include <stdlib.h>
#include <string.h>

struct bl_event {
    bl_cuda *c;
    bl_cu_event event;
    bl_cuda_order order;
};

static void forget_failures(bl_cuda *c) {
    memset(c->failed, 0xff, sizeof c->failed);
    c->error = (bl_error){0};
}

/* The clock's float counts milliseconds from its zero: the zero is set anew whenever nothing is under way. */
static int start_clock(bl_cuda *c, bl_error *err) {
    int rc =
        bl_cuda_check(c, c->libs->cu.cuEventRecord(c->began, c->stream[BL_STREAM_COMPUTE]), "the clock", err);
    rc = rc ? rc : bl_cuda_check(c, c->libs->cu.cuEventSynchronize(c->began), "the clock", err);
    c->began_at = bl_now();
    return rc;
}

int bl_cuda_streams_open(bl_cuda *c, bl_error *err) {
    const bl_cuda_driver *cu = &c->libs->cu;
    int least = 0, greatest = 0;
    void *progress = NULL;
    forget_failures(c);
    int rc = bl_cuda_check(c, cu->cuCtxGetStreamPriorityRange(&least, &greatest), "a stream", err);
    for (int i = 0; i < BL_STREAM_COUNT && !rc; i++) {
        int priority = i == BL_STREAM_COMPUTE ? greatest : least;
        rc = bl_cuda_check(c,
                           cu->cuStreamCreateWithPriority(&c->stream[i], BL_CU_STREAM_NON_BLOCKING, priority),
                           "a stream", err);
    }
    rc = rc ? rc
            : bl_cuda_check(c, cu->cuStreamCreateWithPriority(&c->stage, BL_CU_STREAM_NON_BLOCKING, least),
                            "a stream", err);
    rc = rc ? rc : bl_cuda_check(c, cu->cuEventCreate(&c->asked, 0), "an event", err);
    rc = rc ? rc
            : bl_cuda_check(c, cu->cuMemHostAlloc(&progress, sizeof *c->progress, 0), "pinned memory", err);
    c->progress = progress;
    if (!rc) {
        *c->progress = 0;
        rc = bl_cuda_check(c, cu->cuEventCreate(&c->began, 0), "an event", err);
    }
    if (!rc) { /* not every system lets a stream write a number (Windows' kernel below WSL) */
        c->marks = !cu->cuStreamWriteValue32(c->stream[BL_STREAM_COMPUTE],
                                             (bl_cu_pointer)(uintptr_t)c->progress, 0, 0);
    }
    return rc ? rc : start_clock(c, err);
}

void bl_cuda_streams_close(bl_cuda *c) {
    const bl_cuda_driver *cu = &c->libs->cu;
    bl_cu_stream all[] = {c->stream[BL_STREAM_COMPUTE], c->stream[BL_STREAM_COPY], c->stream[BL_STREAM_LOAD],
                          c->stage};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i]) {
            cu->cuStreamSynchronize(all[i]);
            cu->cuStreamDestroy(all[i]);
        }
    }
    bl_cu_event events[] = {c->began, c->asked};
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        if (events[i]) {
            cu->cuEventDestroy(events[i]);
        }
    }
    if (c->progress) {
        cu->cuMemFreeHost((void *)(uintptr_t)c->progress);
    }
}

uint64_t bl_cuda_work(bl_cuda *c, bl_stream stream) {
    return ++c->order[stream].works[stream];
}

void bl_cuda_failed(bl_cuda *c, bl_stream stream, uint64_t work, const bl_error *err) {
    pthread_mutex_lock(&c->lock);
    if (!c->error.code) {
        c->error = *err;
    }
    c->failed[stream] = work < c->failed[stream] ? work : c->failed[stream];
    pthread_mutex_unlock(&c->lock);
}

int bl_cuda_note_op(bl_cuda *c, bl_cu_stream stream, const char *what, const char *block, bl_error *err) {
    bl_cuda_note *n = &c->notes[++c->ops % BL_CUDA_NOTES];
    n->what = what;
    n->number = c->ops;
    memcpy(n->block, block, sizeof n->block);
    return c->marks ? bl_cuda_check(c,
                                    c->libs->cu.cuStreamWriteValue32(
                                        stream, (bl_cu_pointer)(uintptr_t)c->progress, c->ops, 0),
                                    "an op's mark", err)
                    : 0;
}

int bl_cuda_event_open(bl_event **out, bl_device *d, bl_error *err) {
    *out = NULL;
    bl_cuda *c = (bl_cuda *)d;
    bl_event *e = calloc(1, sizeof *e);
    if (!e) {
        return bl_fail_memory(err, "an event", sizeof *e);
    }
    e->c = c;
    int rc = bl_cuda_enter(c, err);
    rc = rc ? rc
            : bl_cuda_check(c, c->libs->cu.cuEventCreate(&e->event, BL_CU_EVENT_BLOCKING_SYNC), "an event",
                            err);
    if (rc) {
        free(e);
        return rc;
    }
    *out = e;
    return 0;
}

void bl_cuda_event_close(bl_event *e) {
    e->c->libs->cu.cuCtxSetCurrent(e->c->context);
    e->c->libs->cu.cuEventDestroy(e->event);
    free(e);
}

int bl_cuda_event_record(bl_event *e, bl_stream stream, bl_error *err) {
    bl_cuda *c = e->c;
    int rc = bl_cuda_enter(c, err);
    e->order = c->order[stream];
    return rc ? rc
              : bl_cuda_check(c, c->libs->cu.cuEventRecord(e->event, c->stream[stream]), "an event", err);
}

int bl_cuda_stream_wait(bl_device *d, bl_stream stream, bl_event *e, bl_error *err) {
    bl_cuda *c = (bl_cuda *)d;
    int rc = bl_cuda_enter(c, err);
    rc = rc ? rc
            : bl_cuda_check(c, c->libs->cu.cuStreamWaitEvent(c->stream[stream], e->event, 0), "a wait", err);
    for (int i = 0; i < BL_STREAM_COUNT && !rc; i++) {
        uint64_t works = e->order.works[i], *mine = &c->order[stream].works[i];
        *mine = works > *mine ? works : *mine;
    }
    return rc;
}

/* The error of what failed before this point, if anything did. */
static int failure_before(bl_cuda *c, const bl_cuda_order *order, bl_error *err) {
    int rc = 0;
    pthread_mutex_lock(&c->lock);
    for (int i = 0; i < BL_STREAM_COUNT && !rc; i++) {
        if (order->works[i] >= c->failed[i]) {
            rc = bl_fail(err, c->error.code, "%s", c->error.message);
        }
    }
    pthread_mutex_unlock(&c->lock);
    return rc;
}

int bl_cuda_event_wait(bl_event *e, bl_error *err) {
    bl_cuda *c = e->c;
    int rc = bl_cuda_enter(c, err);
    rc = rc ? rc : bl_cuda_check(c, c->libs->cu.cuEventSynchronize(e->event), "the work", err);
    return rc ? rc : failure_before(c, &e->order, err);
}

double bl_cuda_event_seconds(const bl_event *e) {
    float ms = 0.0f;
    e->c->libs->cu.cuCtxSetCurrent(e->c->context);
    e->c->libs->cu.cuEventElapsedTime(&ms, e->c->began, e->event);
    return e->c->began_at + (double)ms * 1e-3;
}

double bl_cuda_now(bl_device *d) {
    (void)d;
    return bl_now();
}

int bl_cuda_sync(bl_device *d, bool *lost, bl_error *err) {
    bl_cuda *c = (bl_cuda *)d;
    bl_error late = {0};
    int rc = bl_cuda_enter(c, &late);
    for (int i = 0; i < BL_STREAM_COUNT && !rc; i++) {
        rc = bl_cuda_check(c, c->libs->cu.cuStreamSynchronize(c->stream[i]), "the work", &late);
    }
    rc = rc ? rc : bl_cuda_check(c, c->libs->cu.cuStreamSynchronize(c->stage), "the work", &late);
    rc = rc ? rc : start_clock(c, &late);
    pthread_mutex_lock(&c->lock);
    *lost = c->lost;
    bl_error first = c->error.code ? c->error : late;
    forget_failures(c);
    pthread_mutex_unlock(&c->lock);
    return first.code ? bl_fail(err, first.code, "%s", first.message) : 0;
}
