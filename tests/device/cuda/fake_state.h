/* What the files of the fake driver share: the two cards, what waits in their streams, what was allocated. */
#ifndef BALLAST_TESTS_DEVICE_CUDA_FAKE_STATE_H
#define BALLAST_TESTS_DEVICE_CUDA_FAKE_STATE_H

#include "fake.h"

#define FAKE_CARDS 2
#define FAKE_STREAMS 16
#define FAKE_MEMORY (1ull << 30) /* of a card, unless the script says otherwise */

typedef struct fake_allocation {
    struct fake_allocation *next;
    void *block;           /* with its guard zones */
    unsigned char *memory; /* behind the first of them */
    size_t bytes;
    int card; /* -1: pinned host memory */
} fake_allocation;

typedef struct fake_state {
    fake_script script;
    uint64_t random;
    struct CUstream_st *streams[FAKE_STREAMS];
    fake_allocation *allocations;
    uint64_t used[FAKE_CARDS]; /* of its memory */
    uint64_t own[FAKE_CARDS];  /* of that what the driver took by itself: for plans that were run */
    int calls, works, waits, graphs, open;
    int current;           /* the card whose context is */
    bool dead[FAKE_CARDS]; /* the context: until it is reset */
    int retained[FAKE_CARDS];
    bool stepping; /* from the first kernel on, until all streams are waited for */
    const char *fault;
} fake_state;

extern fake_state fake;

uint64_t fake_draw(void);
/* The answer of what the card itself is asked. */
bl_cu_result fake_card_fails(void);
/* Whether steps run. */
bool fake_is_stepping(void);
/* Notes what must not happen while they do. */
void fake_outside_steps(const char *what);
/* Does works of any stream until this one has none left. */
void fake_run_until_empty(const struct CUstream_st *s);
/* Takes memory of the current card that nobody gives back, as a library does that loads its kernels. */
void fake_take_own(uint64_t bytes);

/* The memory's and the streams' part of the driver's table. */
void fake_memory_entries(bl_cuda_driver *cu);
void fake_stream_entries(bl_cuda_driver *cu);

#endif
