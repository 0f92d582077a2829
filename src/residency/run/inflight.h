/* Work that was put on a device's streams and has not been looked at since. */
#ifndef BALLAST_RESIDENCY_INFLIGHT_H
#define BALLAST_RESIDENCY_INFLIGHT_H

#include "device/device.h"
#include "residency/run/ledger.h"

/* Events to be used again. All zero but for the device. */
typedef struct bl_event_pool {
    bl_device *device;
    bl_event **idle;
    int count, room;
} bl_event_pool;

typedef struct bl_flight_item {
    bl_event *begin, *end;
    bl_ledger_entry entry; /* start and seconds are not known yet */
    int before;            /* of a copy: the run that waits for it; of a load: that of its copy */
    uint64_t low, high;    /* of a copy or load: bytes of the host store that it reads or writes */
    bool gated;            /* of a run: it waited for a copy, */
    bl_share gate;         /* and what that belongs to */
} bl_flight_item;

/* In the order in which it was put on the stream. All zero is empty; free(items) after draining. */
typedef struct bl_flight {
    bl_flight_item *items;
    int count, room;
} bl_flight;

void bl_event_pool_close(bl_event_pool *pool);
/* Gives an event back; NULL is fine. */
void bl_event_give(bl_event_pool *pool, bl_event *event);

/* Records the item's begin on the stream and adds it. After the work was put on the stream, or failed to be
 * (rc not 0), bl_flight_end records its end; a failed item leaves the list. Both return the first error. */
int bl_flight_begin(bl_flight *f, bl_event_pool *pool, bl_flight_item item, bl_stream stream, bl_error *err);
int bl_flight_end(bl_flight *f, bl_event_pool *pool, bl_stream stream, int rc, bl_error *err);

/* Waits for all of it without looking at what went wrong: afterwards the device touches no memory of ours. */
void bl_flight_drain(bl_flight *f, bl_event_pool *pool);

#endif
