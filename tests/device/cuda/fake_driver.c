#include "fake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GUARD 512
#define GUARD_BYTE 0xa7
#define PINNED_FILLED (4u << 20) /* of pinned memory, much of which is never used */
#define MEMORY (1ull << 30)
#define STREAMS 8
#define MS_EACH 0.01f /* of virtual time, each work */

_Thread_local long long fake_block;
unsigned fake_order;

typedef enum work_kind { RUN, RECORD, WAIT } work_kind;

typedef struct work {
    struct work *next;
    work_kind kind;
    void (*run)(void *payload);
    struct CUevent_st *event;
    uint64_t serial; /* of a record: which; of a wait: the one that it is for */
    unsigned char payload[];
} work;

struct CUstream_st {
    work *first, **last;
};

struct CUevent_st {
    uint64_t asked, done; /* records */
    float ms;
};

typedef struct allocation {
    struct allocation *next;
    unsigned char *memory; /* behind the first guard zone */
    size_t bytes;
    bool pinned;
} allocation;

static struct {
    fake_script script;
    uint64_t random;
    struct CUstream_st *streams[STREAMS];
    allocation *allocations;
    uint64_t used; /* of the card's memory */
    int calls, works, waits, open;
    bool dead; /* the context: until it is reset */
    const char *fault;
} fake;

static uint64_t draw(void) {
    fake.random ^= fake.random << 13;
    fake.random ^= fake.random >> 7;
    fake.random ^= fake.random << 17;
    return fake.random;
}

bool fake_fails(void) {
    return ++fake.calls == fake.script.fail;
}

void *fake_new(size_t bytes) {
    void *p = calloc(1, bytes);
    fake.open += p != NULL;
    return p;
}

void fake_free(void *p) {
    fake.open -= p != NULL;
    free(p);
}

/* For calls into the context. */
bl_cu_result fake_enter(void) {
    return fake_fails() ? BL_CU_UNKNOWN - 1 : fake.dead ? BL_CU_BAD_ADDRESS : 0;
}

/* ---- queues */

static bool is_ready(const work *w) {
    return w && (w->kind != WAIT || w->event->done >= w->serial);
}

static void step(struct CUstream_st *s) {
    work *w = s->first;
    s->first = w->next;
    s->last = s->first ? s->last : &s->first;
    if (w->kind == RUN && ++fake.works == fake.script.late) {
        fake.dead = true;
    }
    if (w->kind == RUN && !fake.dead) {
        fake_order = (unsigned)draw();
        w->run(w->payload);
    } else if (w->kind == RECORD) {
        w->event->done = w->serial;
        w->event->ms = (float)fake.works * MS_EACH;
    }
    free(w);
}

/* Does a work of some stream, if any is ready. One stream, which the seed chooses, seldom has its turn while
 * another can go on. */
static bool step_any(void) {
    struct CUstream_st *ready[STREAMS];
    int count = 0, starved = (int)(fake.script.seed % 3);
    for (int i = 0; i < STREAMS; i++) {
        if (fake.streams[i] && is_ready(fake.streams[i]->first) && (i != starved || draw() % 16 == 0)) {
            ready[count++] = fake.streams[i];
        }
    }
    if (!count && fake.streams[starved] && is_ready(fake.streams[starved]->first)) {
        ready[count++] = fake.streams[starved];
    }
    if (count) {
        step(ready[draw() % (uint64_t)count]);
    }
    return count > 0;
}

static void run_until_empty(const struct CUstream_st *s) {
    while (s->first) {
        if (!step_any()) {
            fake.fault = "streams wait for each other for ever";
            return;
        }
    }
}

void fake_run_all(void) {
    while (step_any()) {
    }
}

static bl_cu_result put(struct CUstream_st *s, work w, const void *payload, size_t bytes) {
    work *item = malloc(sizeof *item + bytes);
    if (!item) {
        return BL_CU_NO_MEMORY;
    }
    *item = w;
    item->next = NULL;
    if (bytes) {
        memcpy(item->payload, payload, bytes);
    }
    *s->last = item;
    s->last = &item->next;
    for (uint64_t early = fake.script.seed / 3 % 2 ? draw() % 4 : 0; early; early--) {
        step_any(); /* some seeds leave all for later */
    }
    return 0;
}

bl_cu_result fake_put(bl_cu_stream stream, void (*run)(void *payload), const void *payload, size_t bytes) {
    return put(stream, (work){.kind = RUN, .run = run}, payload, bytes);
}

/* ---- memory */

static bl_cu_result allocate(void **out, size_t bytes, bool pinned) {
    allocation *a = fake_new(sizeof *a);
    unsigned char *p = aligned_alloc(256, (bytes + 2 * GUARD + 255) / 256 * 256);
    if (!a || !p) {
        fake_free(a);
        free(p);
        return BL_CU_NO_MEMORY;
    }
    memset(p, GUARD_BYTE, GUARD);
    memset(p + GUARD, 0xff, pinned && bytes > PINNED_FILLED ? PINNED_FILLED : bytes); /* NaN in every type */
    memset(p + GUARD + bytes, GUARD_BYTE, GUARD);
    *a = (allocation){.next = fake.allocations, .memory = p + GUARD, .bytes = bytes, .pinned = pinned};
    fake.allocations = a;
    *out = a->memory;
    return 0;
}

static void check_guards(const allocation *a) {
    for (size_t i = 0; i < GUARD; i++) {
        if (a->memory[-1 - (ptrdiff_t)i] != GUARD_BYTE || a->memory[a->bytes + i] != GUARD_BYTE) {
            fake.fault = a->pinned ? "bytes beside pinned memory were written"
                                   : "bytes beside device memory were written";
        }
    }
}

static bl_cu_result release(void *memory) {
    fake_run_all();
    for (allocation **p = &fake.allocations; *p; p = &(*p)->next) {
        allocation *a = *p;
        if (a->memory == memory) {
            check_guards(a);
            fake.used -= a->pinned ? 0 : a->bytes;
            *p = a->next;
            free(a->memory - GUARD);
            fake_free(a);
            return 0;
        }
    }
    fake.fault = "memory was freed that was not allocated";
    return 1;
}

/* Whether the bytes lie in memory of the kind; notes where the card's own do not. */
static bool lies_in(const void *p, size_t bytes, bool pinned) {
    const unsigned char *b = p;
    for (const allocation *a = fake.allocations; a; a = a->next) {
        if (a->pinned == pinned && b >= a->memory && b + bytes <= a->memory + a->bytes) {
            return true;
        }
    }
    fake.fault = pinned ? fake.fault : "a copy leaves the card's memory";
    return false;
}

typedef struct copying {
    void *to;
    const void *from;
    size_t bytes;
} copying;

static void copy(void *payload) {
    const copying *c = payload;
    memcpy(c->to, c->from, c->bytes);
}

/* What is not pinned is copied at once, behind all that lies before it. */
static bl_cu_result put_copy(struct CUstream_st *s, copying c, const void *host) {
    if (lies_in(host, c.bytes, true)) {
        return fake_put(s, copy, &c, sizeof c);
    }
    run_until_empty(s);
    if (!fake.dead) {
        copy(&c);
    }
    return fake.dead ? BL_CU_BAD_ADDRESS : 0;
}

static bl_cu_result mem_alloc(bl_cu_pointer *out, size_t bytes) {
    bl_cu_result r = fake_enter();
    void *p = NULL;
    uint64_t all = fake.script.memory ? fake.script.memory : MEMORY;
    r = r ? r : bytes > all - fake.used ? BL_CU_NO_MEMORY : allocate(&p, bytes, false);
    fake.used += r ? 0 : bytes;
    *out = (bl_cu_pointer)(uintptr_t)p;
    return r;
}

static bl_cu_result mem_free(bl_cu_pointer p) {
    return release((void *)(uintptr_t)p);
}

static bl_cu_result mem_host_alloc(void **out, size_t bytes, unsigned flags) {
    (void)flags;
    bl_cu_result r = fake_enter();
    return r ? r : fake.script.refuse_pinned && bytes > 4096 ? BL_CU_NO_MEMORY : allocate(out, bytes, true);
}

static bl_cu_result mem_get_info(size_t *left, size_t *all) {
    bl_cu_result r = fake_enter();
    *all = fake.script.memory ? fake.script.memory : MEMORY;
    *left = *all - fake.used;
    return r;
}

static bl_cu_result copy_to_card(bl_cu_pointer to, const void *from, size_t bytes, bl_cu_stream s) {
    bl_cu_result r = fake_enter();
    void *p = (void *)(uintptr_t)to;
    r = r ? r : lies_in(p, bytes, false) ? 0 : 1;
    return r ? r : put_copy(s, (copying){p, from, bytes}, from);
}

static bl_cu_result copy_to_host(void *to, bl_cu_pointer from, size_t bytes, bl_cu_stream s) {
    bl_cu_result r = fake_enter();
    const void *p = (const void *)(uintptr_t)from;
    r = r ? r : lies_in(p, bytes, false) ? 0 : 1;
    return r ? r : put_copy(s, (copying){to, p, bytes}, to);
}

/* ---- streams and events */

static bl_cu_result stream_create(bl_cu_stream *out, unsigned flags, int priority) {
    (void)priority;
    bl_cu_result r = fake_enter();
    for (int i = 0; !r && i < STREAMS; i++) {
        if (!fake.streams[i]) {
            fake.streams[i] = *out = fake_new(sizeof **out);
            (*out)->last = &(*out)->first;
            return flags == BL_CU_STREAM_NON_BLOCKING ? 0 : 1;
        }
    }
    return r ? r : 1;
}

static bl_cu_result stream_destroy(bl_cu_stream s) {
    run_until_empty(s);
    for (int i = 0; i < STREAMS; i++) {
        fake.streams[i] = fake.streams[i] == s ? NULL : fake.streams[i];
    }
    fake_free(s);
    return 0;
}

static bl_cu_result stream_synchronize(bl_cu_stream s) {
    bl_cu_result r = fake_enter();
    if (!r) {
        run_until_empty(s);
    }
    return r ? r : fake.dead ? BL_CU_BAD_ADDRESS : 0;
}

static bl_cu_result stream_wait(bl_cu_stream s, bl_cu_event e, unsigned flags) {
    (void)flags;
    bl_cu_result r = fake_enter();
    fake.waits++;
    return r || !e->asked || fake.script.without_waits
               ? r
               : put(s, (work){.kind = WAIT, .event = e, .serial = e->asked}, NULL, 0);
}

static bl_cu_result event_create(bl_cu_event *out, unsigned flags) {
    (void)flags;
    bl_cu_result r = fake_enter();
    *out = r ? NULL : fake_new(sizeof **out);
    return r;
}

static bl_cu_result event_destroy(bl_cu_event e) {
    fake_run_all();
    fake_free(e);
    return 0;
}

static bl_cu_result event_record(bl_cu_event e, bl_cu_stream s) {
    bl_cu_result r = fake_enter();
    return r ? r : put(s, (work){.kind = RECORD, .event = e, .serial = ++e->asked}, NULL, 0);
}

static bl_cu_result event_synchronize(bl_cu_event e) {
    bl_cu_result r = fake_enter();
    while (!r && e->done < e->asked) {
        if (!step_any()) {
            fake.fault = "streams wait for each other for ever";
            return 1;
        }
    }
    return r ? r : fake.dead ? BL_CU_BAD_ADDRESS : 0;
}

static bl_cu_result event_elapsed(float *ms, bl_cu_event begin, bl_cu_event end) {
    *ms = end->ms - begin->ms;
    return 0;
}

typedef struct writing {
    bl_cu_pointer to;
    uint32_t value;
} writing;

static void write_value(void *payload) {
    const writing *w = payload;
    *(uint32_t *)(uintptr_t)w->to = w->value;
}

static bl_cu_result stream_write(bl_cu_stream s, bl_cu_pointer to, uint32_t value, unsigned flags) {
    (void)flags;
    bl_cu_result r = fake_enter();
    writing w = {to, value};
    return r ? r : fake_put(s, write_value, &w, sizeof w);
}

typedef struct calling {
    bl_cu_host_fn *fn;
    void *payload;
} calling;

static void call(void *payload) {
    const calling *c = payload;
    c->fn(c->payload);
}

static bl_cu_result launch_host(bl_cu_stream s, bl_cu_host_fn *fn, void *payload) {
    bl_cu_result r = fake_enter();
    calling c = {fn, payload};
    return r ? r : fake_put(s, call, &c, sizeof c);
}

/* ---- the card */

static bl_cu_result init(unsigned flags) {
    (void)flags;
    return fake_fails() ? 3 : 0;
}

static bl_cu_result driver_version(int *version) {
    *version = 13000;
    return 0;
}

static bl_cu_result device_count(int *count) {
    *count = 2;
    return fake_fails() ? 3 : 0;
}

static bl_cu_result device_get(bl_cu_device *out, int number) {
    *out = number;
    return fake_fails() ? 3 : 0;
}

static bl_cu_result device_name(char *name, int bytes, bl_cu_device d) {
    snprintf(name, (size_t)bytes, "Fake card %d", d);
    return fake_fails() ? 3 : 0;
}

static bl_cu_result device_attribute(int *value, bl_cu_attribute which, bl_cu_device d) {
    int sm = fake.script.sm ? fake.script.sm : d ? 75 : 90;
    *value = which == BL_CU_MAJOR ? sm / 10 : which == BL_CU_MINOR ? sm % 10 : 4;
    return fake_fails() ? 3 : 0;
}

static bl_cu_result device_memory(size_t *bytes, bl_cu_device d) {
    (void)d;
    *bytes = fake.script.memory ? fake.script.memory : MEMORY;
    return fake_fails() ? 3 : 0;
}

static bl_cu_result context_retain(bl_cu_context *out, bl_cu_device d) {
    (void)d;
    *out = (bl_cu_context)(void *)&fake;
    fake.open++;
    return fake_fails() ? (fake.open--, BL_CU_NO_MEMORY) : 0;
}

static bl_cu_result context_release(bl_cu_device d) {
    (void)d;
    fake.open--;
    return 0;
}

static bl_cu_result context_reset(bl_cu_device d) {
    (void)d;
    fake.dead = false;
    return 0;
}

static bl_cu_result context_set(bl_cu_context c) {
    (void)c;
    return fake_fails() ? 3 : 0;
}

static bl_cu_result priorities(int *least, int *greatest) {
    *least = 0;
    *greatest = -5;
    return fake_fails() ? 3 : 0;
}

static bl_cu_result error_name(bl_cu_result r, const char **name) {
    *name = r == BL_CU_BAD_ADDRESS ? "CUDA_ERROR_ILLEGAL_ADDRESS" : "CUDA_ERROR_SCRIPTED";
    return 0;
}

/* ---- the tables */

static bl_cuda_libs libs = {
    .cu = {.cuInit = init,
           .cuDriverGetVersion = driver_version,
           .cuDeviceGetCount = device_count,
           .cuDeviceGet = device_get,
           .cuDeviceGetName = device_name,
           .cuDeviceGetAttribute = device_attribute,
           .cuDeviceTotalMem = device_memory,
           .cuDevicePrimaryCtxRetain = context_retain,
           .cuDevicePrimaryCtxRelease = context_release,
           .cuDevicePrimaryCtxReset = context_reset,
           .cuCtxSetCurrent = context_set,
           .cuCtxGetStreamPriorityRange = priorities,
           .cuMemGetInfo = mem_get_info,
           .cuMemAlloc = mem_alloc,
           .cuMemFree = mem_free,
           .cuMemHostAlloc = mem_host_alloc,
           .cuMemFreeHost = release,
           .cuMemcpyHtoDAsync = copy_to_card,
           .cuMemcpyDtoHAsync = copy_to_host,
           .cuStreamCreateWithPriority = stream_create,
           .cuStreamDestroy = stream_destroy,
           .cuStreamSynchronize = stream_synchronize,
           .cuStreamWaitEvent = stream_wait,
           .cuEventCreate = event_create,
           .cuEventDestroy = event_destroy,
           .cuEventRecord = event_record,
           .cuEventSynchronize = event_synchronize,
           .cuEventElapsedTime = event_elapsed,
           .cuStreamWriteValue32 = stream_write,
           .cuLaunchHostFunc = launch_host,
           .cuLaunchKernel = fake_launch_kernel,
           .cuModuleLoadData = fake_module_load,
           .cuModuleUnload = fake_module_unload,
           .cuModuleGetFunction = fake_module_function,
           .cuGetErrorName = error_name},
    .driver = 13000,
    .cudnn = 91900,
    .cublaslt = 130100,
    .nvrtc = 1300,
};

const bl_cuda_libs *fake_begin(const fake_script *script) {
    memset(&fake, 0, sizeof fake);
    fake.script = *script;
    fake.random = script->seed * 0x9e3779b97f4a7c15u + 0x853c49e6748fea9bu;
    libs.dnn = fake_cudnn;
    libs.lt = fake_cublaslt;
    libs.rtc = fake_nvrtc;
    return &libs;
}

int fake_calls(void) {
    return fake.calls;
}

int fake_works(void) {
    return fake.works;
}

int fake_waits(void) {
    return fake.waits;
}

const char *fake_end(void) {
    for (const allocation *a = fake.allocations; a; a = a->next) {
        check_guards(a);
    }
    return fake.fault ? fake.fault : fake.open ? "something is still open" : NULL;
}
