/* Virtual time: what is put on a stream begins when the stream is free, and not before the host asked for it.
 * A scripted late fault makes one piece of work fail as on a card: it is taken, and who waits for it learns.
 */
#include "device/sim/internal.h"

#include <stdlib.h>

/* When the stream is free. */
static double free_at(const sim *s, bl_stream stream) {
    return s->clock[stream] > s->host ? s->clock[stream] : s->host;
}

bl_sim_work bl_sim_put(sim *s, bl_stream stream, double seconds, const char *what, int block) {
    bl_sim_work w = {.start = free_at(s, stream), .happens = !s->failed[stream]};
    w.end = w.start + seconds;
    if (s->card.shares_cores) { /* whoever puts it there does it */
        s->host = w.end;
        for (int i = 0; i < BL_STREAM_COUNT; i++) {
            s->clock[i] = w.end;
        }
    }
    s->clock[stream] = w.end;
    if (++s->works == s->faults.late && w.happens) {
        w.happens = false;
        s->failed[stream] = true;
        bl_fail(&s->error, BL_E_DEVICE, "%s of block %d failed late, as scripted", what, block);
    }
    return w;
}

static double slowdown_of(const sim *s) {
    return s->card.shares_cores ? 0 : s->faults.slowdown > 0 ? s->faults.slowdown : s->card.copy_slowdown;
}

int bl_sim_put_copy(bl_sim_work *out, sim *s, bl_stream stream, double seconds, const char *what, int block,
                    bl_error *err) {
    *out = bl_sim_put(s, stream, seconds, what, block);
    return slowdown_of(s) > 0 ? bl_spans_add(&s->copying, out->start, out->end, err) : 0;
}

double bl_sim_beside_copies(sim *s, bl_stream stream, double seconds) {
    double slowdown = slowdown_of(s), from = free_at(s, stream);
    return slowdown > 0 ? bl_spans_end(&s->copying, from, seconds, slowdown / (1 + slowdown)) - from
                        : seconds;
}

int bl_sim_event_open(bl_event **out, bl_device *d, bl_error *err) {
    *out = NULL;
    bl_event *e = calloc(1, sizeof *e);
    if (!e) {
        return bl_fail_memory(err, "an event", sizeof *e);
    }
    e->s = (sim *)d;
    *out = e;
    return 0;
}

void bl_sim_event_close(bl_event *e) {
    free(e);
}

int bl_sim_event_record(bl_event *e, bl_stream stream, bl_error *err) {
    (void)err;
    e->time = e->s->clock[stream] > e->s->host ? e->s->clock[stream] : e->s->host;
    e->failed = e->s->failed[stream];
    return 0;
}

int bl_sim_stream_wait(bl_device *d, bl_stream stream, bl_event *e, bl_error *err) {
    sim *s = (sim *)d;
    (void)err;
    if (e->time > s->clock[stream]) {
        s->clock[stream] = e->time;
    }
    s->failed[stream] = s->failed[stream] || e->failed;
    return 0;
}

int bl_sim_event_wait(bl_event *e, bl_error *err) {
    if (e->time > e->s->host) {
        e->s->host = e->time;
    }
    return e->failed ? bl_fail(err, BL_E_DEVICE, "%s", e->s->error.message) : 0;
}

double bl_sim_event_seconds(const bl_event *e) {
    return e->time;
}

double bl_sim_now(bl_device *d) {
    return ((sim *)d)->host;
}

int bl_sim_sync(bl_device *d, bool *lost, bl_error *err) {
    sim *s = (sim *)d;
    bl_error first = s->error;
    for (int i = 0; i < BL_STREAM_COUNT; i++) {
        s->host = s->clock[i] > s->host ? s->clock[i] : s->host;
        s->failed[i] = false;
    }
    s->error = (bl_error){0};
    *lost = first.code && s->faults.lose;
    s->losses += *lost;
    return first.code ? bl_fail(err, first.code, "%s", first.message) : 0;
}
