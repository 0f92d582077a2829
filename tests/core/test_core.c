/* What everyone stands on: conversions of every 16-bit float, messages, checked sums, loops over threads. */
#include "core/checked.h"
#include "core/dtype.h"
#include "core/error.h"
#include "core/new_file.h"
#include "core/parallel.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

/* IEEE 754 binary16 by its definition. */
static double half_value(unsigned h) {
    int exponent = (int)(h >> 10 & 31), fraction = (int)(h & 1023);
    double sign = h >> 15 ? -1 : 1;
    if (exponent == 31) {
        return fraction ? NAN : sign * INFINITY;
    }
    return sign * (exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24));
}

static void test_every_half(void **state) {
    (void)state;
    for (unsigned h = 0; h < 65536; h++) {
        double want = half_value(h);
        float got = bl_f16_to_f32((uint16_t)h);
        if (isnan(want)) {
            assert_true(isnan(got));
            assert_true(isnan(bl_f16_to_f32(bl_f32_to_f16(got))));
            continue;
        }
        assert_true((double)got == want);
        assert_int_equal(signbit(got) != 0, h >> 15);
        assert_int_equal(bl_f32_to_f16(got), h);
        /* the exact middle between two neighbours goes to the even one, a little more goes up */
        if ((h & 0x7fff) < 0x7bff) {
            float middle = (float)((want + half_value(h + 1)) / 2);
            assert_int_equal(bl_f32_to_f16(middle), h + (h & 1));
            assert_int_equal(bl_f32_to_f16(nextafterf(middle, h >> 15 ? -INFINITY : INFINITY)), h + 1);
            assert_int_equal(bl_f32_to_f16(nextafterf(middle, 0)), h);
        }
    }
    assert_int_equal(bl_f32_to_f16(65519.99f), 0x7bff);
    assert_int_equal(bl_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(bl_f32_to_f16(1e-30f), 0);
}

static void test_bf16(void **state) {
    (void)state;
    assert_int_equal(bl_f32_to_bf16(1.0f), 0x3f80);
    assert_int_equal(bl_f32_to_bf16(1.00390625f), 0x3f80); /* a tie goes to even */
    assert_int_equal(bl_f32_to_bf16(1.01171875f), 0x3f82);
    assert_int_equal(bl_f32_to_bf16(3.4e38f), 0x7f80);
    assert_true(isnan(bl_bf16_to_f32(bl_f32_to_bf16(NAN))));
    assert_true(bl_bf16_to_f32(0xc000) == -2.0f);
}

static void test_convert_pairs(void **state) {
    (void)state;
    enum { N = 3000 };
    static float f[N], back[N];
    static uint16_t half[N], brain[N];
    static double wide[N];
    for (int i = 0; i < N; i++) {
        f[i] = bl_bf16_to_f32(bl_f32_to_bf16((float)sin(i) * 4)); /* exact in bf16, f16 and f32 */
        wide[i] = f[i];
    }
    assert_int_equal(bl_convert(half, BL_F16, f, BL_F32, N), 0);
    assert_int_equal(bl_convert(brain, BL_BF16, half, BL_F16, N), 0);
    assert_int_equal(bl_convert(back, BL_F32, brain, BL_BF16, N), 0);
    for (int i = 0; i < N; i++) {
        assert_true(fabsf(back[i] - f[i]) <= fabsf(f[i]) * 0x1p-8f);
    }
    assert_int_equal(bl_convert(back, BL_F32, wide, BL_F64, N), 0);
    assert_memory_equal(back, f, sizeof f);
    assert_int_equal(bl_convert(back, BL_F32, f, BL_I32, N), -1);
    assert_int_equal(bl_convert(back, BL_I64, f, BL_F32, N), -1);
}

/* Every 16-bit pattern through arrays, which vectors convert, against the conversions of single values. */
static void test_convert_every_pattern(void **state) {
    (void)state;
    enum { N = 65536 + 5 };
    static uint16_t in[N], out[N];
    static float wide[N], values[N];
    for (unsigned i = 0; i < N; i++) {
        in[i] = (uint16_t)i;
        uint32_t bits = i * 65537u + (i & 7) * 0x1fff; /* low halves around the middle between two BF16 */
        memcpy(&values[i], &bits, 4);
    }
    for (int type = 0; type < 2; type++) {
        assert_int_equal(bl_convert(wide, BL_F32, in, type ? BL_BF16 : BL_F16, N), 0);
        for (int i = 0; i < N; i++) {
            float want = type ? bl_bf16_to_f32(in[i]) : bl_f16_to_f32(in[i]);
            assert_true(isnan(want) ? isnan(wide[i]) != 0 : memcmp(&want, &wide[i], 4) == 0);
        }
    }
    assert_int_equal(bl_convert(out, BL_BF16, values, BL_F32, N), 0);
    for (int i = 0; i < N; i++) {
        assert_int_equal(out[i], bl_f32_to_bf16(values[i]));
    }
    assert_int_equal(bl_convert(out, BL_BF16, in, BL_F16, N), 0);
    for (int i = 0; i < N; i++) {
        float value = bl_f16_to_f32(in[i]);
        assert_true(isnan(value) ? isnan(bl_bf16_to_f32(out[i])) != 0 : out[i] == bl_f32_to_bf16(value));
    }
}

static void test_messages(void **state) {
    (void)state;
    bl_error err = {0};
    assert_int_equal(bl_fail(&err, BL_E_FORMAT, "tensor \"%s\"", "a\nb\033[2J"), BL_E_FORMAT);
    assert_string_equal(err.message, "tensor \"a?b?[2J\"");
    char longer[3000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    bl_fail(&err, BL_E_IO, "%s", longer);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    assert_string_equal(err.message + sizeof err.message - 4, "...");
    assert_int_equal(bl_fail(NULL, BL_E_IO, "nobody listens"), BL_E_IO);
}

static void test_checked(void **state) {
    (void)state;
    uint64_t v = 0;
    assert_true(bl_mul_u64(1u << 31, 1u << 31, &v));
    assert_true(v == 1ull << 62);
    assert_false(bl_mul_u64(1ull << 32, 1ull << 32, &v));
    assert_false(bl_add_u64(UINT64_MAX, 1, &v));
    assert_true(bl_align_up(1, 64) == 64 && bl_align_up(64, 64) == 64 && bl_align_up(0, 64) == 0);
}

struct marks {
    int seen[1000];
    int thread[1000];
};

static void mark(void *context, int64_t begin, int64_t end, int thread) {
    struct marks *m = context;
    for (int64_t i = begin; i < end; i++) {
        m->seen[i]++;
        m->thread[i] = thread;
    }
}

static void test_loops(void **state) {
    (void)state;
    int before = bl_threads();
    for (int threads = 1; threads <= 5; threads++) {
        bl_set_threads(threads);
        for (int n = 0; n <= 1000; n += 111) {
            struct marks m = {0};
            bl_parallel_for(n, 10, mark, &m);
            for (int i = 0; i < 1000; i++) {
                assert_int_equal(m.seen[i], i < n);
                assert_in_range(m.thread[i], 0, threads - 1);
                assert_true(i == 0 || i >= n || m.thread[i] >= m.thread[i - 1]);
            }
        }
    }
    bl_set_threads(before);
    assert_true(bl_usable_cores() >= 1);
}

static void test_open_failures(void **state) {
    bl_error err = {0};
    (void)state;
    assert_int_equal(bl_fail_open(&err, "a", ENOENT), BL_E_NOT_FOUND);
    assert_int_equal(bl_fail_open(&err, "b", EACCES), BL_E_ARGUMENT);
    assert_int_equal(bl_fail_open(&err, "c", ELOOP), BL_E_ARGUMENT);
    assert_string_equal(err.message, "cannot open \"c\": Too many levels of symbolic links");
    assert_int_equal(bl_fail_open(&err, "d", EMFILE), BL_E_IO);
    assert_int_equal(bl_fail_open(&err, "e", EIO), BL_E_IO);
}

static int entries(const char *folder) {
    DIR *d = opendir(folder);
    int count = -2; /* . and .. */
    assert_non_null(d);
    while (readdir(d)) {
        count++;
    }
    closedir(d);
    return count;
}

/* A file is there whole, or not at all: not when its writer failed, the disk is full, the name is taken. */
static void test_new_file(void **state) {
    char folder[] = "/tmp/ballast-core-XXXXXX", path[64], text[8] = "";
    static const char much[1 << 16];
    bl_new_file f;
    bl_error err;
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/x", folder);
    assert_int_equal(bl_new_file_begin(&f, path, &err), 0);
    fputs("one", f.f);
    assert_int_equal(bl_new_file_end(&f, 0, false, &err), 0);
    assert_int_equal(bl_new_file_begin(&f, path, &err), 0);
    assert_int_equal(bl_new_file_end(&f, 0, false, &err), BL_E_ARGUMENT);
    assert_non_null(strstr(err.message, "exists"));
    assert_int_equal(bl_new_file_begin(&f, path, &err), 0);
    assert_int_equal(bl_new_file_end(&f, BL_E_NUMERIC, true, &err), BL_E_NUMERIC);
    struct rlimit before, small = {.rlim_cur = 5000};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small.rlim_max = before.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_int_equal(bl_new_file_begin(&f, path, &err), 0);
    fwrite(much, 1, sizeof much, f.f);
    assert_int_equal(bl_new_file_end(&f, 0, true, &err), BL_E_IO);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_non_null(strstr(err.message, strerror(EFBIG)));
    FILE *kept = fopen(path, "re");
    assert_non_null(kept);
    assert_non_null(fgets(text, sizeof text, kept));
    fclose(kept);
    assert_string_equal(text, "one");
    assert_int_equal(entries(folder), 1);
    assert_int_equal(bl_new_file_begin(&f, "/dev/null", &err), BL_E_ARGUMENT);
    assert_int_equal(bl_new_file_begin(&f, folder, &err), BL_E_ARGUMENT);
    unlink(path);
    rmdir(folder);
    assert_int_equal(bl_new_file_begin(&f, path, &err), BL_E_IO);
}

/* Processors that each thread of a loop may use. */
typedef struct masks {
    cpu_set_t of[8];
} masks;

static void note_mask(void *context, int64_t begin, int64_t end, int thread) {
    masks *m = context;
    (void)begin, (void)end;
    sched_getaffinity(0, sizeof m->of[thread], &m->of[thread]);
}

/* Pinned threads keep to a processor each, as far as there are some; afterwards all have what they had. */
static void test_pinned(void **state) {
    (void)state;
    masks m = {0};
    cpu_set_t before;
    const int own = bl_threads(), processors = bl_usable_processors(), cores = bl_usable_cores();
    sched_getaffinity(0, sizeof before, &before);
    for (int threads = 1; threads <= 4; threads++) {
        bl_set_threads(threads);
        bl_pin_threads(1);
        bl_parallel_for(threads, 1, note_mask, &m);
        for (int t = 0; t < threads; t++) {
            assert_int_equal(CPU_COUNT(&m.of[t]), 1);
            for (int k = 0; k < t && threads <= processors; k++) {
                assert_false(CPU_EQUAL(&m.of[t], &m.of[k]));
            }
        }
    }
    bl_set_threads(2);
    bl_pin_threads(0);
    bl_parallel_for(2, 1, note_mask, &m);
    assert_true(CPU_EQUAL(&m.of[0], &before) && CPU_EQUAL(&m.of[1], &before));
    bl_set_threads(4);
    bl_parallel_for(4, 1, note_mask, &m);
    assert_true(CPU_EQUAL(&m.of[3], &before));
    assert_int_equal(bl_usable_cores(), cores);
    bl_set_threads(own);
}

/* A process that may have no more threads is told so; libgomp would end it. */
static void test_no_more_threads(void **state) {
    (void)state;
    int status;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        bl_error err = {0};
        struct rlimit one = {1, 1};
        /* The superuser has no limit; this number is nobody's. */
        bool limited = !setrlimit(RLIMIT_NPROC, &one) && (geteuid() || !setresuid(54321, 54321, 54321));
        bool told = bl_start_threads(4, &err) == BL_E_MEMORY && strstr(err.message, "let us start 0");
        _exit(!limited ? 77 : told && !bl_start_threads(1, &err) ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void nothing(void *context, int64_t begin, int64_t end, int thread) {
    (void)context, (void)begin, (void)end, (void)thread;
}

/* Seconds of all processors that short loops with pauses between them take. */
static double processor_seconds(void) {
    clock_t began = clock();
    for (int i = 0; i < 30; i++) {
        bl_parallel_for(2, 1, nothing, NULL);
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    return (double)(clock() - began) / CLOCKS_PER_SEC;
}

/* Threads that wait spin for some milliseconds, or, where they should rest, do not. */
static void test_resting(void **state) {
    (void)state;
    const int own = bl_threads();
    if (bl_usable_processors() < 2 || getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY")) {
        skip();
    }
    bl_set_threads(2);
    double usual = processor_seconds();
    bl_rest_threads(true);
    double resting = processor_seconds();
    bl_rest_threads(false);
    double again = processor_seconds();
    bl_set_threads(own);
    assert_true(resting < 0.5 * usual);
    assert_true(resting < 0.5 * again);
}

static void *wish_and_take_back(void *data) {
    for (int i = 0; i < 20; i++) {
        bl_rest_threads(true);
        bl_rest_threads(false);
    }
    return data;
}

/* Threads that wish it and take it back at the same time do not wait for each other for ever. */
static void test_resting_together(void **state) {
    (void)state;
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, wish_and_take_back, NULL), 0);
    }
    wish_and_take_back(NULL);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
}

/* A child of fork does not wait for the threads that rest in its parent. */
static void test_resting_fork(void **state) {
    (void)state;
    const int own = bl_threads();
    int status = 1;
    bl_set_threads(2);
    bl_rest_threads(true);
    pid_t child = fork();
    if (!child) {
        alarm(60); /* instead of hanging */
        bl_rest_threads(false);
        wish_and_take_back(NULL);
        bl_parallel_for(2, 1, nothing, NULL);
        _exit(0);
    }
    bl_rest_threads(false);
    bl_set_threads(own);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* Two nodes of two cores with a sibling each, numbered as machines do: cores before siblings, and of nodes
 * one after the other or in turn. */
static void test_pin_order(void **state) {
    (void)state;
    static const bl_processor list[] = {{0, true, 0},  {1, true, 0},  {2, true, 1},  {3, true, 1},
                                        {4, false, 0}, {5, false, 0}, {6, false, 1}, {7, false, 1}};
    static const bl_processor mixed[] = {{8, true, 1}, {3, true, 0}, {1, false, 0}, {9, true, 1}};
    static const int turns[] = {0, 2, 1, 3, 4, 6, 5, 7};
    int order[8];
    bl_pin_order(order, list, 8, 1);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(order[i], i);
    }
    bl_pin_order(order, list, 8, 2);
    assert_memory_equal(order, turns, sizeof turns);
    bl_pin_order(order, mixed, 4, 1);
    assert_true(order[0] == 1 && order[1] == 0 && order[2] == 3 && order[3] == 2);
    bl_pin_order(order, mixed, 4, 2);
    assert_true(order[0] == 1 && order[1] == 0 && order[2] == 3 && order[3] == 2);
    assert_true(bl_usable_nodes() >= 1 && bl_usable_nodes() <= bl_usable_processors());
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_half),    cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_convert_pairs), cmocka_unit_test(test_convert_every_pattern),
        cmocka_unit_test(test_messages),      cmocka_unit_test(test_checked),
        cmocka_unit_test(test_loops),         cmocka_unit_test(test_pinned),
        cmocka_unit_test(test_pin_order),     cmocka_unit_test(test_no_more_threads),
        cmocka_unit_test(test_resting),       cmocka_unit_test(test_resting_together),
        cmocka_unit_test(test_resting_fork),  cmocka_unit_test(test_open_failures),
        cmocka_unit_test(test_new_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
