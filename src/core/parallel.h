/* Loops over all cores. There is one thread pool in the process, libgomp's, because oneDNN uses it: a second
 * one would fight it for the cores. It is called through its C interface, so that any compiler may build us.
 */
#ifndef BALLAST_CORE_PARALLEL_H
#define BALLAST_CORE_PARALLEL_H

#include "core/error.h"

#include <stdbool.h>
#include <stdint.h>

/* Work on items [begin, end). `thread` is 0 .. bl_threads()-1; each thread gets one range, fixed by n and the
 * number of threads, so that results cannot depend on timing. */
typedef void bl_range_fn(void *context, int64_t begin, int64_t end, int thread);

/* Runs fn over [0, n), cut into at most bl_threads() ranges of at least `grain` items. Does not nest: called
 * inside a loop it runs on the calling thread alone. */
void bl_parallel_for(int64_t n, int64_t grain, bl_range_fn *fn, void *context);

/* Physical cores this process may use: affinity, SMT siblings and the control groups' CPU quotas looked at.
 * At least 1. */
int bl_usable_cores(void);

/* Logical processors of this process's affinity mask. At least 1. */
int bl_usable_processors(void);

/* Their NUMA nodes. At least 1. */
int bl_usable_nodes(void);

/* Threads of the calling thread's loops (and of oneDNN called from it); 1 <= n <= 1024. */
void bl_set_threads(int n);
int bl_threads(void);

/* The same, and has them started, for which libgomp would end the process if there were no memory, or
 * the system let it have no more threads: BL_E_MEMORY. */
int bl_start_threads(int n, bl_error *err);

/* Whether each thread of the calling thread's loops keeps to a processor of its own, in one of these orders.
 * Said after each bl_set_threads; costs nothing where nothing changes. 0 gives all of them back what the
 * calling thread had. */
void bl_pin_threads(int order);

/* Whether the calling thread wishes that threads which wait for the next loop go to sleep soon, instead of
 * spinning for some milliseconds, which costs whoever shares the processors with us. libgomp spins less where
 * there are more of its threads than processors (its manual, GOMP_SPINCOUNT): so as many are started, and
 * sleep. In all of the process, while any thread wishes it: who does takes that back before it ends. */
void bl_rest_threads(bool soon);

typedef struct bl_processor {
    int number;
    bool first; /* of its core's SMT siblings */
    int node;
} bl_processor;

/* The order in which threads take `count` processors, at most 1024, by index: one of each core, in the order
 * of their numbers, then the siblings; 1: of one node after the other, 2: of nodes in turn. */
void bl_pin_order(int *out, const bl_processor *list, int count, int order);

#endif
