#include "residency/run/inflight.h"

#include <stdlib.h>

static int event_take(bl_event_pool *pool, bl_event **out, bl_error *err) {
    if (pool->count) {
        *out = pool->idle[--pool->count];
        return 0;
    }
    return bl_device_event_open(out, pool->device, err);
}

void bl_event_give(bl_event_pool *pool, bl_event *event) {
    if (!event) {
        return;
    }
    if (pool->count == pool->room) {
        int room = pool->room ? pool->room * 2 : 256;
        bl_event **idle = realloc(pool->idle, (size_t)room * sizeof(bl_event *));
        if (!idle) {
            bl_device_event_close(pool->device, event);
            return;
        }
        pool->idle = idle;
        pool->room = room;
    }
    pool->idle[pool->count++] = event;
}

void bl_event_pool_close(bl_event_pool *pool) {
    for (int i = 0; i < pool->count; i++) {
        bl_device_event_close(pool->device, pool->idle[i]);
    }
    free(pool->idle);
    pool->idle = NULL;
    pool->count = pool->room = 0;
}

static int add(bl_flight *f, bl_flight_item item, bl_error *err) {
    if (f->count == f->room) {
        int room = f->room ? f->room * 2 : 256;
        bl_flight_item *items = realloc(f->items, (size_t)room * sizeof *items);
        if (!items) {
            return bl_fail_memory(err, "the list of work under way", (size_t)room * sizeof *items);
        }
        f->items = items;
        f->room = room;
    }
    f->items[f->count++] = item;
    return 0;
}

int bl_flight_begin(bl_flight *f, bl_event_pool *pool, bl_flight_item item, bl_stream stream, bl_error *err) {
    item.begin = item.end = NULL;
    int rc = event_take(pool, &item.begin, err);
    rc = rc ? rc : event_take(pool, &item.end, err);
    rc = rc ? rc : bl_device_event_record(pool->device, item.begin, stream, err);
    rc = rc ? rc : add(f, item, err);
    if (rc) {
        bl_event_give(pool, item.begin);
        bl_event_give(pool, item.end);
    }
    return rc;
}

int bl_flight_end(bl_flight *f, bl_event_pool *pool, bl_stream stream, int rc, bl_error *err) {
    bl_flight_item *item = &f->items[f->count - 1];
    if (!rc) {
        rc = bl_device_event_record(pool->device, item->end, stream, err);
    }
    if (rc) {
        bl_event_give(pool, item->begin);
        bl_event_give(pool, item->end);
        f->count--;
    }
    return rc;
}

void bl_flight_drain(bl_flight *f, bl_event_pool *pool) {
    for (int i = 0; i < f->count; i++) {
        bl_device_event_wait(pool->device, f->items[i].end, NULL);
        bl_event_give(pool, f->items[i].begin);
        bl_event_give(pool, f->items[i].end);
    }
    f->count = 0;
}
