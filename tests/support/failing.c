#include "support/failing.h"

#include <errno.h>
#include <execinfo.h>
#include <jansson.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void __real_free(void *p);
void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_aligned_alloc(size_t alignment, size_t n);
char *__real_strdup(const char *s);
FILE *__real_open_memstream(char **text, size_t *bytes);
FILE *__real_fopen(const char *path, const char *mode);
FILE *__real_fdopen(int fd, const char *mode);
void __wrap_free(void *p);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t alignment, size_t n);
char *__wrap_strdup(const char *s);
int __wrap_asprintf(char **out, const char *format, ...) __attribute__((format(printf, 2, 3)));
FILE *__wrap_open_memstream(char **text, size_t *bytes);
FILE *__wrap_fopen(const char *path, const char *mode);
FILE *__wrap_fdopen(int fd, const char *mode);

static atomic_long left = -1; /* allocations until the one that fails; below 0: it failed, or none is to */
static atomic_bool reached;
static atomic_long allocations;
static _Atomic int64_t taken, most; /* bytes */

/* ---- ways */

#define WAYS 65536 /* slots; a power of two */
#define FRAMES 64

typedef struct way {
    uint64_t name; /* hash of the return addresses; 0: a free slot */
    long number;   /* of the second allocation on it, or the only one */
    bool twice;
} way;

static way ways[WAYS];
static long way_count;
static atomic_bool watched;
static pthread_mutex_t ways_lock = PTHREAD_MUTEX_INITIALIZER;

static uint64_t returned[WAYS]; /* names of those that bl_test_ways gave a number of */
static int outer;               /* of our own frames, those of who watches */

extern const char __executable_start[], etext[];

/* Return addresses that lie in this program, the innermost first: what a library does between two of ours is
 * its own affair. */
static int own_frames(const char *own[FRAMES]) {
    void *frames[FRAMES];
    int depth = backtrace(frames, FRAMES), n = 0;
    for (int i = 0; i < depth; i++) {
        const char *at = frames[i];
        if (at >= __executable_start && at < etext) {
            own[n++] = at;
        }
    }
    return n;
}

/* Their hash, from the call that is watched inwards. */
static uint64_t name_way(void) {
    const char *own[FRAMES];
    int n = own_frames(own), end = n > outer ? n - outer : n;
    uint64_t name = 0xcbf29ce484222325u;
    for (int i = 0; i < end; i++) {
        name = (name ^ (uint64_t)(uintptr_t)own[i]) * 0x100000001b3u;
        name ^= name >> 29;
    }
    return name;
}

static void note_way(long number) {
    uint64_t name = name_way();
    pthread_mutex_lock(&ways_lock);
    way *w = &ways[name % WAYS];
    while (w->name && w->name != name) {
        w = w + 1 == ways + WAYS ? ways : w + 1;
    }
    if (w->name) {
        w->number = w->twice ? w->number : number;
        w->twice = true;
    } else if (way_count < WAYS - 1) {
        *w = (way){name, number, false};
        way_count++;
    }
    pthread_mutex_unlock(&ways_lock);
}

void bl_test_watch(void) {
    const char *own[FRAMES];
    outer = own_frames(own);
    bl_test_fail(-1);
    memset(ways, 0, sizeof ways);
    way_count = 0;
    atomic_store(&watched, true);
}

static int in_order(const void *a, const void *b) {
    long x = *(const long *)a, y = *(const long *)b;
    return (x > y) - (x < y);
}

/* Whether it is the first time that it is asked of the name. */
static bool is_new(uint64_t name) {
    uint64_t *t = &returned[name % WAYS];
    while (*t && *t != name) {
        t = t + 1 == returned + WAYS ? returned : t + 1;
    }
    bool new = !*t;
    *t = name;
    return new;
}

long bl_test_ways(long *numbers, long room) {
    long n = 0;
    for (const way *w = ways; w < ways + WAYS; w++) {
        if (w->name && n < room && is_new(w->name)) {
            numbers[n++] = w->number;
        }
    }
    qsort(numbers, (size_t)n, sizeof *numbers, in_order);
    return n;
}

/* ---- */

static bool fails(void) {
    long number = atomic_fetch_add(&allocations, 1);
    if (atomic_load(&watched)) {
        note_way(number);
    }
    if (atomic_load(&left) < 0 || atomic_fetch_sub(&left, 1) != 0) {
        return false;
    }
    atomic_store(&reached, true);
    errno = ENOMEM;
    return true;
}

void bl_test_fail(long n) {
    atomic_store(&watched, false);
    atomic_store(&reached, false);
    atomic_store(&allocations, 0);
    atomic_store(&left, n);
}

long bl_test_allocations(void) {
    return atomic_load(&allocations);
}

bool bl_test_failed(void) {
    atomic_store(&watched, false);
    atomic_store(&left, -1);
    return atomic_load(&reached);
}

uint64_t bl_test_taken(void) {
    atomic_store(&most, atomic_load(&taken));
    return (uint64_t)atomic_load(&taken);
}

uint64_t bl_test_most_taken(void) {
    return (uint64_t)atomic_load(&most);
}

/* Counts what an allocation gave. */
static void *count(void *p) {
    int64_t now = atomic_fetch_add(&taken, (int64_t)malloc_usable_size(p)) + (int64_t)malloc_usable_size(p);
    for (int64_t old = atomic_load(&most); now > old && !atomic_compare_exchange_weak(&most, &old, now);) {
    }
    return p;
}

void bl_test_fail_json(bool on) {
    json_set_alloc_funcs(on ? __wrap_malloc : __real_malloc, free);
}

void __wrap_free(void *p) {
    atomic_fetch_sub(&taken, (int64_t)malloc_usable_size(p));
    __real_free(p);
}

void *__wrap_malloc(size_t n) {
    return fails() ? NULL : count(__real_malloc(n));
}

void *__wrap_calloc(size_t n, size_t size) {
    return fails() ? NULL : count(__real_calloc(n, size));
}

void *__wrap_realloc(void *p, size_t n) {
    if (fails()) {
        return NULL;
    }
    int64_t old = (int64_t)malloc_usable_size(p);
    void *moved = __real_realloc(p, n);
    if (moved) {
        atomic_fetch_sub(&taken, old);
        count(moved);
    }
    return moved;
}

void *__wrap_aligned_alloc(size_t alignment, size_t n) {
    return fails() ? NULL : count(__real_aligned_alloc(alignment, n));
}

char *__wrap_strdup(const char *s) {
    return fails() ? NULL : count(__real_strdup(s));
}

int __wrap_asprintf(char **out, const char *format, ...) {
    if (fails()) {
        return -1;
    }
    va_list args;
    va_start(args, format);
    int n = vasprintf(out, format, args);
    va_end(args);
    return n;
}

FILE *__wrap_open_memstream(char **text, size_t *bytes) {
    return fails() ? NULL : __real_open_memstream(text, bytes);
}

FILE *__wrap_fopen(const char *path, const char *mode) {
    return fails() ? NULL : __real_fopen(path, mode);
}

FILE *__wrap_fdopen(int fd, const char *mode) {
    return fails() ? NULL : __real_fdopen(fd, mode);
}
