#include "core/parallel.h"

#include "core/ask.h"
#include "core/cgroup.h"
#include "core/lines.h"

#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NODES 64                 /* of memory, that are looked for */
#define THREAD_BYTES (64u << 10) /* beside its stack: guard, storage of its own, libgomp's tables */

/* libgomp's entry point for "#pragma omp parallel" (its ABI since GCC 4.9). */
void GOMP_parallel(void (*fn)(void *), void *data, unsigned threads, unsigned flags);

/* ThreadSanitizer does not see how libgomp hands a loop out and waits for its end; so it is told. */
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#else
#define __tsan_acquire(address) ((void)(address))
#define __tsan_release(address) ((void)(address))
#endif

typedef struct loop {
    bl_range_fn *fn;
    void *context;
    int64_t n;
    int threads;
} loop;

static void run_share(void *data) {
    const loop *l = data;
    __tsan_acquire(data);
    int t = omp_get_thread_num();
    int64_t begin = l->n * t / l->threads, end = l->n * (t + 1) / l->threads;
    if (t < l->threads && begin < end) {
        l->fn(l->context, begin, end, t);
    }
    __tsan_release(data);
}

void bl_parallel_for(int64_t n, int64_t grain, bl_range_fn *fn, void *context) {
    if (n <= 0) {
        return;
    }
    int64_t most = grain > 1 ? (n + grain - 1) / grain : n;
    int threads = bl_threads();
    if (most < threads) {
        threads = (int)most;
    }
    if (threads <= 1 || omp_in_parallel()) {
        fn(context, 0, n, 0);
        return;
    }
    loop l = {.fn = fn, .context = context, .n = n, .threads = threads};
    __tsan_release(&l);
    GOMP_parallel(run_share, &l, (unsigned)threads, 0);
    __tsan_acquire(&l);
}

/* ---- threads that rest */

/* While threads wish it, one more, whose team makes the process have more threads than processors. */
static struct {
    pthread_mutex_t lock;
    int wishes;
    bool kept;
    pthread_t thread;
    pthread_barrier_t met; /* by it and by who starts it; then by it and by who ends it */
} rests = {.lock = PTHREAD_MUTEX_INITIALIZER};

static _Thread_local bool wished;

static void do_nothing(void *data) {
    (void)data;
}

static unsigned resting_threads(void) {
    return (unsigned)sysconf(_SC_NPROCESSORS_CONF) + 1;
}

/* Ends with its team, which libgomp ends with the thread that has it. */
static void *keep_team(void *data) {
    GOMP_parallel(do_nothing, NULL, resting_threads(), 0);
    pthread_barrier_wait(&rests.met);
    pthread_barrier_wait(&rests.met);
    return data;
}

static void *wait_for(void *lock) {
    pthread_mutex_lock(lock);
    pthread_mutex_unlock(lock);
    return NULL;
}

/* Can so many threads be there at once? Where the system has no more of them, libgomp ends the process. */
static int try_threads(unsigned n, bl_error *err) {
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_t *threads = malloc((n + 1) * sizeof *threads);
    unsigned made = 0;
    int why = 0;
    if (!threads) {
        return bl_fail_memory(err, "a team of threads", n * sizeof *threads);
    }
    pthread_mutex_lock(&lock);
    while (made < n && !(why = pthread_create(&threads[made], NULL, wait_for, &lock))) {
        made++;
    }
    pthread_mutex_unlock(&lock);
    for (unsigned i = 0; i < made; i++) {
        pthread_join(threads[i], NULL);
    }
    free(threads);
    return !why ? 0
                : bl_fail(err, BL_E_MEMORY,
                          "%u more threads are needed, and the system let us start %u (%s): take fewer, or "
                          "raise the limit on "
                          "processes (ulimit -u, or the container's)",
                          n, made, strerror(why));
}

/* Asks for what so many threads take, and for the threads. */
static int ask_for_threads(unsigned n, bl_error *err) {
    size_t stack = 0;
    pthread_attr_t defaults;
    if (!pthread_attr_init(&defaults)) {
        pthread_attr_getstacksize(&defaults, &stack);
        pthread_attr_destroy(&defaults);
    }
    int rc = bl_ask_memory(n * (stack + THREAD_BYTES), "a team of threads", err);
    return rc ? rc : try_threads(n, err);
}

static bool start_resting(void) {
    bl_error ignored;
    if (ask_for_threads(resting_threads(), &ignored) || pthread_barrier_init(&rests.met, NULL, 2)) {
        return false;
    }
    if (pthread_create(&rests.thread, NULL, keep_team, NULL)) {
        pthread_barrier_destroy(&rests.met);
        return false;
    }
    pthread_barrier_wait(&rests.met);
    return true;
}

static void end_resting(void) {
    pthread_barrier_wait(&rests.met);
    pthread_join(rests.thread, NULL);
    pthread_barrier_destroy(&rests.met);
}

void bl_rest_threads(bool soon) {
    if (soon == wished) {
        return;
    }
    wished = soon;
    pthread_mutex_lock(&rests.lock);
    rests.wishes += soon ? 1 : -1;
    if (rests.wishes > 0 && !rests.kept) {
        rests.kept = start_resting();
    } else if (!rests.wishes && rests.kept) {
        end_resting();
        rests.kept = false;
    }
    pthread_mutex_unlock(&rests.lock);
}

/* ---- teams of threads */

static _Thread_local int started = 1; /* of the calling thread's team */

/* A child of fork has one thread, the one that forked, and libgomp in it would wait for the others for ever.
 * So they are sent home before; they come back with the next loop. */
static void before_fork(void) {
    pthread_mutex_lock(&rests.lock);
    omp_pause_resource_all(omp_pause_hard);
    started = 1;
}

static void in_parent(void) {
    pthread_mutex_unlock(&rests.lock);
}

/* Nor is the thread there that keeps a team, or any that wished it. */
static void in_child(void) {
    wished = rests.kept = false;
    rests.wishes = 0;
    pthread_mutex_unlock(&rests.lock);
}

static void watch_forks(void) {
    pthread_atfork(before_fork, in_parent, in_child);
}

void bl_set_threads(int n) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    omp_set_dynamic(0);
    omp_set_num_threads(n);
}

int bl_start_threads(int n, bl_error *err) {
    bl_set_threads(n);
    if (n <= started) {
        return 0;
    }
    int rc = ask_for_threads((unsigned)(n - started), err);
    if (!rc) {
        GOMP_parallel(do_nothing, NULL, (unsigned)n, 0);
        started = n;
    }
    return rc;
}

int bl_threads(void) {
    return omp_get_max_threads();
}

/* Is this processor the first of its core's SMT siblings inside the mask? */
static bool stands_for_core(int cpu, const cpu_set_t *allowed) {
    char path[96], line[256];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    int first = cpu;
    if (bl_first_line(path, line, sizeof line)) {
        /* "0,64" or "0-1": the lowest sibling that we may use stands for the core */
        int a, b, used;
        for (const char *p = line; sscanf(p, "%d%n", &a, &used) == 1;) {
            p += used;
            b = a;
            if (*p == '-' && sscanf(p + 1, "%d%n", &b, &used) == 1) {
                p += 1 + used;
            }
            for (int s = a; s <= b && s < cpu && s >= 0; s++) {
                first = first == cpu && CPU_ISSET(s, allowed) ? s : first;
            }
            p += *p == ',';
        }
    }
    return first == cpu;
}

/* Cores of the affinity mask. */
static int physical_cores(const cpu_set_t *allowed) {
    int count = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        count += CPU_ISSET(cpu, allowed) && stands_for_core(cpu, allowed);
    }
    return count;
}

/* ---- threads that keep to a processor */

/* What a team is told. */
typedef struct pinning {
    const cpu_set_t *all; /* that the calling thread had */
    int order[CPU_SETSIZE];
    int count; /* 0: each gets all of them */
} pinning;

static int node_of(int cpu) {
    char path[96];
    for (int node = 0; node < NODES; node++) {
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/node%d", cpu, node);
        if (!access(path, F_OK)) {
            return node;
        }
    }
    return 0; /* a kernel without nodes has one */
}

/* Those of the mask, in the order of their numbers; how many. */
static int list_processors(bl_processor list[CPU_SETSIZE], const cpu_set_t *allowed) {
    int count = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (CPU_ISSET(cpu, allowed)) {
            list[count++] = (bl_processor){cpu, stands_for_core(cpu, allowed), node_of(cpu)};
        }
    }
    return count;
}

/* Cores before siblings; then by node, or by how many of the node come before; then by number. */
static bool comes_before(const bl_processor *a, int place_a, const bl_processor *b, int place_b, int order) {
    if (a->first != b->first) {
        return a->first;
    }
    if (order == 2 && place_a != place_b) {
        return place_a < place_b;
    }
    return a->node != b->node ? a->node < b->node : a->number < b->number;
}

/* How many of the same node, and as much first of their cores, come before it. */
static int place_in_node(const bl_processor *list, int count, int i) {
    int place = 0;
    for (int k = 0; k < count; k++) {
        place +=
            list[k].node == list[i].node && list[k].first == list[i].first && list[k].number < list[i].number;
    }
    return place;
}

void bl_pin_order(int *out, const bl_processor *list, int count, int order) {
    int place[CPU_SETSIZE];
    for (int i = 0; i < count; i++) {
        place[i] = place_in_node(list, count, i);
    }
    for (int i = 0; i < count; i++) {
        int rank = 0;
        for (int k = 0; k < count; k++) {
            rank += k != i && comes_before(&list[k], place[k], &list[i], place[i], order);
        }
        out[rank] = i;
    }
}

static void pin_one(void *data) {
    const pinning *p = data;
    __tsan_acquire(data);
    cpu_set_t set = *p->all;
    if (p->count) {
        CPU_ZERO(&set);
        CPU_SET(p->order[omp_get_thread_num() % p->count], &set);
    }
    (void)sched_setaffinity(0, sizeof set, &set); /* a wish */
    __tsan_release(data);
}

void bl_pin_threads(int order) {
    static _Thread_local cpu_set_t all;   /* before the first pin */
    static _Thread_local int now, before; /* threads that are pinned, 0: none; and in which order */
    int threads = bl_threads(), wanted = order ? threads : 0;
    if ((wanted == now && order == before) || (!now && sched_getaffinity(0, sizeof all, &all))) {
        return;
    }
    pinning p = {.all = &all};
    if (order) {
        bl_processor list[CPU_SETSIZE];
        int by_index[CPU_SETSIZE];
        p.count = list_processors(list, &all);
        bl_pin_order(by_index, list, p.count, order);
        for (int i = 0; i < p.count; i++) {
            p.order[i] = list[by_index[i]].number;
        }
    }
    /* all that are, or were, pinned; new ones have what the calling thread has until they are told */
    __tsan_release(&p);
    GOMP_parallel(pin_one, &p, (unsigned)(threads > now ? threads : now), 0);
    __tsan_acquire(&p);
    now = wanted;
    before = order;
}

int bl_usable_nodes(void) {
    cpu_set_t allowed;
    bl_processor list[CPU_SETSIZE];
    CPU_ZERO(&allowed);
    int count = sched_getaffinity(0, sizeof allowed, &allowed) ? 0 : list_processors(list, &allowed),
        nodes = 0;
    for (int i = 0; i < count; i++) {
        int k = 0;
        while (k < i && list[k].node != list[i].node) {
            k++;
        }
        nodes += k == i;
    }
    return nodes < 1 ? 1 : nodes;
}

int bl_usable_processors(void) {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    int count = sched_getaffinity(0, sizeof allowed, &allowed) ? 1 : CPU_COUNT(&allowed);
    return count < 1 ? 1 : count;
}

int bl_usable_cores(void) {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    if (sched_getaffinity(0, sizeof allowed, &allowed)) {
        return 1;
    }
    int cores = physical_cores(&allowed);
    double quota = bl_cgroup_cores_of("");
    if (quota < cores) {
        cores = (int)(quota + 0.5);
    }
    return cores < 1 ? 1 : cores;
}
