/* Kernels whose threads wait for each other: their own text with a fiber a thread, which run in orders that a
 * seed chooses. The sums are the same in every order, and those of the fake card, whose threads are loops; a
 * barrier that is missing is found. */
#pragma GCC diagnostic ignored "-Wunused-function"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels_fibers.inc"

#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

enum { FIBERS = BL_LANES * BL_ROWS, STACK = 64 << 10, ROWS = 6, WIDTH = 70, GROUPS = 4, CHUNKS = 3 };

static struct {
    ucontext_t back, fiber[FIBERS];
    char stack[FIBERS][STACK];
    bool ended[FIBERS];
    int order[FIBERS], at; /* whose turn it is */
    int syncs;             /* of the fiber that counts them */
    int missing;           /* the barrier that nobody waits at */
    int passed[FIBERS];    /* barriers that each has come to */
    void (*run)(const void *args);
    const void *args;
} f;

/* A barrier: the fiber's turn ends, and comes again when all others have had theirs. */
static void fiber_sync(void) {
    int me = fiber_thread;
    if (f.passed[me]++ == f.missing) {
        return;
    }
    swapcontext(&f.fiber[me], &f.back);
    fiber_thread = me;
}

static void begin_fiber(int me) {
    f.run(f.args);
    f.ended[me] = true;
}

static void make_fiber(int i, unsigned seed) {
    int odd = 2 * (int)(seed % 64) + 1;
    f.order[i] = (i * odd + (int)(seed / 64 % FIBERS)) % FIBERS;
    f.ended[i] = false;
    f.passed[i] = 0;
    getcontext(&f.fiber[i]);
    f.fiber[i].uc_stack.ss_sp = f.stack[i];
    f.fiber[i].uc_stack.ss_size = STACK;
    f.fiber[i].uc_link = &f.back;
    makecontext(&f.fiber[i], (void (*)(void))begin_fiber, 1, i);
}

static void run_block(unsigned seed) {
    bool again = true;
    for (int i = 0; i < FIBERS; i++) {
        make_fiber(i, seed);
    }
    while (again) {
        again = false;
        for (int i = 0; i < FIBERS; i++) {
            int next = f.order[i];
            if (!f.ended[next]) {
                fiber_thread = next;
                swapcontext(&f.back, &f.fiber[next]);
                again = true;
            }
        }
    }
    f.syncs = f.passed[0];
}

static void run_kernel(void (*run)(const void *args), const void *args, long long blocks, unsigned seed) {
    f.run = run;
    f.args = args;
    for (fiber_block = 0; fiber_block < blocks; fiber_block++) {
        run_block(seed);
    }
}

static void call_row_norm(const void *args) {
    run_row_norm(*(const struct row_norm_args *)args);
}
static void call_softmax(const void *args) {
    run_softmax(*(const struct softmax_args *)args);
}
static void call_group_factors(const void *args) {
    run_group_factors(*(const struct group_factors_args *)args);
}

static void call_widen_rotated(const void *args) {
    run_widen_rotated(*(const struct widen_rotated_args *)args);
}

enum { CODES = 1280 }; /* more than are turned at once */
static signed char codes[CODES + 8];
static float x[2 * CHUNKS * 2 * WIDTH * ROWS + 8], scale[WIDTH], shift[WIDTH];
static float wanted[2 * 2 * WIDTH * ROWS], got[2 * 2 * WIDTH * ROWS];

typedef union arguments {
    struct row_norm_args norm;
    struct softmax_args softmax;
    struct group_factors_args factors;
    struct widen_rotated_args rotated;
} arguments;

typedef struct kernel {
    const char *name;
    void (*run)(const void *args);
    arguments args;
    arguments before; /* others, so that what threads share is not as it will be */
    long long blocks;
    size_t count; /* of the output */
} kernel;

static const kernel kernels[] = {
    {"row_norm", call_row_norm, .args.norm = {x, scale, shift, got, ROWS, WIDTH, 1, 1e-5f},
     .before.norm = {x + 5, scale, shift, got, ROWS, WIDTH, 1, 1.0f},
     .blocks = (ROWS + BL_ROWS - 1) / BL_ROWS, .count = ROWS * WIDTH},
    {"softmax", call_softmax, .args.softmax = {x, NULL, got, ROWS, ROWS, WIDTH, WIDTH - 3, 1, 64, 0, 0},
     .before.softmax = {x + 5, NULL, got, ROWS, ROWS, WIDTH, 5, 0, 0, 0, 0},
     .blocks = (ROWS + BL_ROWS - 1) / BL_ROWS, .count = ROWS * WIDTH},
    {"group_factors", call_group_factors,
     .args.factors = {x, scale, shift, got, 10, 4, CHUNKS, WIDTH - 2, GROUPS, 1e-5f},
     .before.factors = {x + 5, scale, shift, got, 10, 4, CHUNKS, WIDTH - 2, GROUPS, 1.0f},
     .blocks = 2 * GROUPS, .count = 2 * 2 * (WIDTH - 2)},
    {"widen_rotated", call_widen_rotated,
     .args.rotated = {codes, scale, NULL, got, 1, 0, CODES, 1, 64, 0.125f},
     .before.rotated = {codes + 5, scale, NULL, got, 1, 0, CODES, 1, 16, 0.25f}, .blocks = 1, .count = CODES},
};

static void every_order(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof kernels / sizeof *kernels; k++) {
        const kernel *n = &kernels[k];
        f.missing = -1;
        memset(got, 0xff, sizeof got);
        for (const fake_kernel *of = fake_kernels_f32; of->name; of++) { /* threads as loops */
            for (fake_block = 0; !strcmp(of->name, n->name) && fake_block < n->blocks; fake_block++) {
                of->run(&n->args);
            }
        }
        memcpy(wanted, got, sizeof got);
        for (unsigned seed = 0; seed < 256; seed += 5) {
            memset(got, 0xff, sizeof got);
            run_kernel(n->run, &n->args, n->blocks, seed);
            assert_memory_equal(got, wanted, sizeof got);
        }
    }
}

/* Each barrier of each kernel, left out, gives other numbers in some order. */
static void a_missing_barrier(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof kernels / sizeof *kernels; k++) {
        const kernel *n = &kernels[k];
        f.missing = -1;
        run_kernel(n->run, &n->args, n->blocks, 0);
        memcpy(wanted, got, sizeof got);
        int found = 0, all = f.syncs;
        for (int missing = 0; missing < all; missing++) {
            bool other = false;
            for (unsigned seed = 0; seed < 512 && !other; seed += 3) {
                f.missing = -1;
                run_kernel(n->run, &n->before, n->blocks, seed);
                memset(got, 0xff, sizeof got);
                f.missing = missing;
                run_kernel(n->run, &n->args, n->blocks, seed);
                other = memcmp(got, wanted, sizeof got) != 0;
            }
            found += other;
        }
        if (found < all) {
            fail_msg("%s: %d of %d barriers that are missing are found", n->name, found, all);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_order), cmocka_unit_test(a_missing_barrier)};
    for (size_t i = 0; i < sizeof x / sizeof *x; i++) {
        x[i] = (float)((i * 7919 + 13) % 1009) / 251.0f - 1.5f;
    }
    for (int i = 0; i < CODES + 8; i++) {
        codes[i] = (signed char)(i * 7919 % 251 - 125);
    }
    for (int row = 0; row < ROWS; row++) { /* the largest comes through every step */
        x[row * WIDTH + BL_LANES - 1] += 5.0f;
    }
    for (int i = 0; i < WIDTH; i++) {
        scale[i] = 1.0f + (float)i / 100.0f;
        shift[i] = (float)(i % 7) - 3.0f;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
