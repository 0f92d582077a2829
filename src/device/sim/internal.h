/* What the simulated device's files share. */
#ifndef BALLAST_DEVICE_SIM_INTERNAL_H
#define BALLAST_DEVICE_SIM_INTERNAL_H

#include "core/spans.h"
#include "device/sim/contents.h"
#include "device/sim/sim.h"

typedef struct sim {
    bl_device head;
    bl_sim_card card;
    bl_sim_faults faults;
    bool vanished;                 /* a region was refused: caps show it from now on */
    double host;                   /* the host's clock */
    double clock[BL_STREAM_COUNT]; /* when each stream is done with what was put on it */
    bl_spans copying;              /* when copies to regions are under way, where compute feels them */
    bool failed[BL_STREAM_COUNT];  /* what is put on it does not happen, until the next sync */
    bl_error error;                /* the first late one since the last sync; its code is 0: none */
    uint64_t open_bytes, peak_bytes, host_bytes;
    uint64_t modules, losses; /* counted */
    int copies, runs, works;
} sim;

struct bl_device_module {
    sim *s;
    uint64_t serial;
    bl_block_cost *costs; /* [count] */
    int count;
    /* of modules that were opened with a source; else NULL and 0 */
    bl_source source;
    bl_weight *weights; /* [weight_count] that stay small while the source lets them */
    int weight_count;
};

struct bl_executable {
    bl_device_module *m;
    uint64_t arena_bytes;
    double *seconds, *flops; /* [m->count] each */
    double *widened, *widen; /* [m->count] each, of small weights: values and seconds of a pass; or NULL */
    double widening;         /* seconds of all runs */
};

/* Host memory, or a region seen as such. */
struct bl_host {
    sim *s;
    uint64_t bytes;
    bl_sim_contents contents;
    uint64_t losses;   /* of the device when something was last written here */
    bl_region *region; /* NULL: it is none */
};

struct bl_region {
    bl_host memory;
    bl_region_use used; /* since bl_sim_region_used */
};

struct bl_event {
    sim *s;
    double time;
    bool failed; /* something before it did */
};

/* memory.c: regions, host memory, and the work on streams that fills and reads them */
int bl_sim_region_open(bl_region **out, bl_device *d, uint64_t bytes, bl_error *err);
void bl_sim_region_close(bl_region *r);
void bl_sim_region_used(bl_region *r, bl_region_use *out);
bl_host *bl_sim_region_host(bl_region *r);
int bl_sim_host_open(bl_host **out, bl_device *d, uint64_t bytes, bool pinned, bl_error *err);
void bl_sim_host_close(bl_host *h);
int bl_sim_pack(bl_device_module *m, int block, bl_host *to, uint64_t offset, bl_stream stream,
                bl_error *err);
int bl_sim_copy(bl_device_module *m, int block, const bl_host *from, uint64_t from_offset, bl_region *r,
                uint64_t offset, bl_stream stream, bl_error *err);
int bl_sim_run(bl_executable *x, int block, const bl_binding *b, bl_stream stream, bl_error *err);

/* streams.c: virtual time and what fails late */
/* One piece of work, put on a stream: when it begins, when it ends, and whether it happens. */
typedef struct bl_sim_work {
    double start, end;
    bool happens;
} bl_sim_work;
bl_sim_work bl_sim_put(sim *s, bl_stream stream, double seconds, const char *what, int block);
/* The same of a copy into a region, which compute beside it feels. */
int bl_sim_put_copy(bl_sim_work *out, sim *s, bl_stream stream, double seconds, const char *what, int block,
                    bl_error *err);
/* Seconds of a run that takes so many alone, if it is put there now. */
double bl_sim_beside_copies(sim *s, bl_stream stream, double seconds);
int bl_sim_event_open(bl_event **out, bl_device *d, bl_error *err);
void bl_sim_event_close(bl_event *e);
int bl_sim_event_record(bl_event *e, bl_stream stream, bl_error *err);
int bl_sim_stream_wait(bl_device *d, bl_stream stream, bl_event *e, bl_error *err);
int bl_sim_event_wait(bl_event *e, bl_error *err);
double bl_sim_event_seconds(const bl_event *e);
double bl_sim_now(bl_device *d);
int bl_sim_sync(bl_device *d, bool *lost, bl_error *err);

#endif
