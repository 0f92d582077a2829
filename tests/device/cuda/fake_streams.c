/* The streams of the fake cards. Each has a thread that does its works, one stream at a time: which comes
 * next the seed chooses, early or late, copies too, as far as events let it. So every order is one that can
 * be had again, and what the plugin calls from a stream is called from another thread than its own, as CUDA
 * does. */
#include "fake_state.h"

#include <pthread.h>
#include <string.h>

#define MS_EACH 0.01f /* of virtual time, each work */

typedef enum work_kind { RUN, RECORD, WAIT } work_kind;

typedef struct work {
    struct work *next;
    work_kind kind;
    bool kernel;
    void (*run)(void *payload);
    struct CUevent_st *event;
    uint64_t serial; /* of a record: which; of a wait: the one that it is for */
    size_t bytes;    /* of the payload */
    unsigned char payload[];
} work;

struct CUgraph_st {
    work *first, **last;
    int card;
};

struct CUgraphExec_st {
    struct CUgraph_st *graph; /* its own */
};

struct CUstream_st {
    work *first, **last;
    int card;
    struct CUgraph_st *captured; /* what is put on it, while it is captured; else NULL */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t told;
    work *given; /* to the thread, until it is done */
    bool ends;
};

struct CUevent_st {
    uint64_t asked, done; /* records */
    float ms;
};

/* ---- a stream's thread */

static void *work_off(void *stream) {
    struct CUstream_st *s = stream;
    pthread_mutex_lock(&s->lock);
    while (!s->ends) {
        if (s->given) {
            s->given->run(s->given->payload);
            s->given = NULL;
            pthread_cond_broadcast(&s->told);
        } else {
            pthread_cond_wait(&s->told, &s->lock);
        }
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void let_thread_run(struct CUstream_st *s, work *w) {
    pthread_mutex_lock(&s->lock);
    s->given = w;
    pthread_cond_broadcast(&s->told);
    while (s->given) {
        pthread_cond_wait(&s->told, &s->lock);
    }
    pthread_mutex_unlock(&s->lock);
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
        fake.dead[s->card] = true;
    }
    if (w->kind == RUN && !fake.dead[s->card]) {
        fake_order = (unsigned)fake_draw();
        let_thread_run(s, w);
    } else if (w->kind == RECORD) {
        w->event->done = w->serial;
        w->event->ms = (float)fake.works * MS_EACH;
    }
    fake_give_back(w);
}

/* Does a work of some stream, if any is ready. One stream, which the seed chooses, seldom has its turn while
 * another can go on. */
static bool step_any(void) {
    struct CUstream_st *ready[FAKE_STREAMS];
    int count = 0, starved = (int)(fake.script.seed % 4);
    for (int i = 0; i < FAKE_STREAMS; i++) {
        if (fake.streams[i] && is_ready(fake.streams[i]->first) && (i != starved || fake_draw() % 16 == 0)) {
            ready[count++] = fake.streams[i];
        }
    }
    if (!count && fake.streams[starved] && is_ready(fake.streams[starved]->first)) {
        ready[count++] = fake.streams[starved];
    }
    if (count) {
        step(ready[fake_draw() % (uint64_t)count]);
    }
    return count > 0;
}

void fake_run_until_empty(const struct CUstream_st *s) {
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

/* ---- putting works on them */

/* A copy of `w`, with this payload. */
static work *new_work(const work *w, const void *payload, size_t bytes) {
    work *item = fake_memory(sizeof *item + bytes);
    if (item) {
        *item = *w;
        item->next = NULL;
        item->bytes = bytes;
        if (bytes) {
            memcpy(item->payload, payload, bytes);
        }
    }
    return item;
}

static bl_cu_result put(struct CUstream_st *s, const work *w, const void *payload, size_t bytes) {
    work *item = new_work(w, payload, bytes);
    if (!item) {
        return BL_CU_NO_MEMORY;
    }
    if (s->card != fake.current) {
        fake.fault = "a work is put on a stream of another card";
    }
    if (s->captured) {
        fake.fault = w->kind == RUN ? fake.fault : "an event inside of what is captured";
        *s->captured->last = item;
        s->captured->last = &item->next;
        return 0;
    }
    fake.stepping = fake.stepping || w->kernel;
    *s->last = item;
    s->last = &item->next;
    for (uint64_t early = fake.script.seed / 3 % 2 ? fake_draw() % 4 : 0; early; early--) {
        step_any(); /* some seeds leave all for later */
    }
    return 0;
}

bl_cu_result fake_put(bl_cu_stream stream, void (*run)(void *payload), const void *payload, size_t bytes) {
    return put(stream, &(work){.kind = RUN, .run = run}, payload, bytes);
}

bl_cu_result fake_put_kernel(bl_cu_stream stream, void (*run)(void *payload), const void *payload,
                             size_t bytes) {
    return put(stream, &(work){.kind = RUN, .kernel = true, .run = run}, payload, bytes);
}

/* ---- streams */

static bl_cu_result stream_create(bl_cu_stream *out, unsigned flags, int priority) {
    (void)priority;
    bl_cu_result r = fake_enter();
    for (int i = 0; !r && i < FAKE_STREAMS; i++) {
        if (!fake.streams[i]) {
            struct CUstream_st *s = fake.streams[i] = *out = fake_new(sizeof **out);
            s->last = &s->first;
            s->card = fake.current;
            pthread_mutex_init(&s->lock, NULL);
            pthread_cond_init(&s->told, NULL);
            pthread_create(&s->thread, NULL, work_off, s);
            return flags == BL_CU_STREAM_NON_BLOCKING ? 0 : 1;
        }
    }
    return r ? r : 1;
}

static void free_graph(struct CUgraph_st *g) {
    while (g && g->first) {
        work *next = g->first->next;
        fake_give_back(g->first);
        g->first = next;
    }
    fake_free(g);
}

static bl_cu_result stream_destroy(bl_cu_stream s) {
    fake_run_until_empty(s);
    for (int i = 0; i < FAKE_STREAMS; i++) {
        fake.streams[i] = fake.streams[i] == s ? NULL : fake.streams[i];
    }
    pthread_mutex_lock(&s->lock);
    s->ends = true;
    pthread_cond_broadcast(&s->told);
    pthread_mutex_unlock(&s->lock);
    pthread_join(s->thread, NULL);
    pthread_cond_destroy(&s->told);
    pthread_mutex_destroy(&s->lock);
    free_graph(s->captured);
    fake_free(s);
    return 0;
}

static bl_cu_result stream_synchronize(bl_cu_stream s) {
    bl_cu_result r = fake_enter();
    fake.stepping = false;
    if (!r) {
        fake_run_until_empty(s);
    }
    return r ? r : fake.dead[s->card] ? BL_CU_BAD_ADDRESS : 0;
}

static bl_cu_result stream_wait(bl_cu_stream s, bl_cu_event e, unsigned flags) {
    (void)flags;
    bl_cu_result r = fake_enter();
    fake.waits++;
    return r || !e->asked || fake.script.without_waits || fake.waits == fake.script.lost_wait
               ? r
               : put(s, &(work){.kind = WAIT, .event = e, .serial = e->asked}, NULL, 0);
}

/* ---- events */

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
    return r ? r : put(s, &(work){.kind = RECORD, .event = e, .serial = ++e->asked}, NULL, 0);
}

static bl_cu_result event_synchronize(bl_cu_event e) {
    bl_cu_result r = fake_enter();
    while (!r && e->done < e->asked) {
        if (!step_any()) {
            fake.fault = "streams wait for each other for ever";
            return 1;
        }
    }
    return r ? r : fake.dead[fake.current] ? BL_CU_BAD_ADDRESS : 0;
}

static bl_cu_result event_elapsed(float *ms, bl_cu_event begin, bl_cu_event end) {
    *ms = end->ms - begin->ms;
    return 0;
}

/* ---- other works */

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
    if (s->captured) {
        fake.fault = "a number that changes is captured";
    }
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

/* ---- graphs: the works that were put on a stream while it was captured */

static bl_cu_result begin_capture(bl_cu_stream s, bl_cu_capture_mode mode) {
    bl_cu_result r = fake_enter();
    if (r || s->captured || mode != BL_CU_CAPTURE_THREAD_LOCAL) {
        return r ? r : 1;
    }
    s->captured = fake_new(sizeof *s->captured);
    s->captured->last = &s->captured->first;
    s->captured->card = s->card;
    return 0;
}

static bl_cu_result end_capture(bl_cu_stream s, bl_cu_graph *out) {
    bl_cu_result r = fake_enter();
    *out = NULL;
    if (!s->captured) {
        return 1;
    }
    if (r) {
        free_graph(s->captured);
    } else {
        *out = s->captured;
    }
    s->captured = NULL;
    return r;
}

static bl_cu_result graph_destroy(bl_cu_graph g) {
    free_graph(g);
    return 0;
}

static bl_cu_result graph_instantiate(bl_cu_graph_exec *out, bl_cu_graph g, unsigned long long flags) {
    bl_cu_result r = fake_enter();
    *out = NULL;
    if (r || flags) {
        return r ? r : 1;
    }
    struct CUgraph_st *own = fake_new(sizeof *own);
    *own = (struct CUgraph_st){.last = &own->first, .card = g->card};
    for (const work *w = g->first; w; w = w->next) {
        *own->last = new_work(w, w->payload, w->bytes);
        own->last = &(*own->last)->next;
    }
    *out = fake_new(sizeof **out);
    (*out)->graph = own;
    return 0;
}

static bl_cu_result graph_launch(bl_cu_graph_exec x, bl_cu_stream s) {
    bl_cu_result r = fake_enter();
    fake.graphs++;
    for (const work *w = x->graph->first; w && !r; w = w->next) {
        r = put(s, w, w->payload, w->bytes);
    }
    return r;
}

static bl_cu_result graph_exec_destroy(bl_cu_graph_exec x) {
    fake_run_all();
    free_graph(x->graph);
    fake_free(x);
    return 0;
}

void fake_stream_entries(bl_cuda_driver *cu) {
    cu->cuStreamCreateWithPriority = stream_create;
    cu->cuStreamDestroy = stream_destroy;
    cu->cuStreamSynchronize = stream_synchronize;
    cu->cuStreamWaitEvent = stream_wait;
    cu->cuEventCreate = event_create;
    cu->cuEventDestroy = event_destroy;
    cu->cuEventRecord = event_record;
    cu->cuEventSynchronize = event_synchronize;
    cu->cuEventElapsedTime = event_elapsed;
    cu->cuStreamWriteValue32 = stream_write;
    cu->cuLaunchHostFunc = launch_host;
    cu->cuStreamBeginCapture = begin_capture;
    cu->cuStreamEndCapture = end_capture;
    cu->cuGraphInstantiateWithFlags = graph_instantiate;
    cu->cuGraphDestroy = graph_destroy;
    cu->cuGraphLaunch = graph_launch;
    cu->cuGraphExecDestroy = graph_exec_destroy;
}
