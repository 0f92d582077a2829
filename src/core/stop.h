/* A call that another thread may stop. */
#ifndef BALLAST_CORE_STOP_H
#define BALLAST_CORE_STOP_H

#include <stdatomic.h>
#include <stdbool.h>

/* No call is at work; one is; it is asked to stop. One number, so that whoever stops a call cannot hit the
 * one after it. */
typedef enum bl_stop_state { BL_IDLE, BL_WORKING, BL_STOPPING } bl_stop_state;

typedef atomic_int bl_stop;

/* Is this call asked to stop? `stop` may be NULL: nobody can. */
static inline bool bl_stopping(const bl_stop *stop) {
    return stop && atomic_load_explicit(stop, memory_order_relaxed) == BL_STOPPING;
}

#endif
