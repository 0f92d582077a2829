/* NVRTC compiles our kernels for every kind of card that we know, without spilling registers into memory.
 * With an argument: prints the table of docs/cuda.md. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "device/cuda/args.h"
#include "device/cuda/kernels_text.h"
#include "device/cuda/libs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_REGISTERS 64 /* so that a processor has four blocks of 256 threads at once */

static bl_cuda_libs libs;

/* The text after `what` in `log` that belongs to this kernel, as a number; -1: it is not there. */
static int number_before(const char *begin, const char *end, const char *what) {
    const char *at = strstr(begin, what);
    if (!at || (end && at > end)) {
        return -1;
    }
    while (at > begin && (at[-1] == ' ' || (at[-1] >= '0' && at[-1] <= '9'))) {
        at--;
    }
    return (int)strtol(at, NULL, 10);
}

typedef struct row {
    int registers, shared;
} row;

static void read_log(const char *log, const char *name, row *out, const char *where) {
    char head[96];
    snprintf(head, sizeof head, "entry function '%s'", name);
    const char *begin = strstr(log, head);
    if (!begin) {
        fail_msg("%s: the compiler does not speak of %s", where, name);
        return;
    }
    const char *end = strstr(begin + 1, "entry function '");
    int registers = number_before(begin, end, " registers"),
        stores = number_before(begin, end, " bytes spill stores");
    int shared = number_before(begin, end, " bytes smem");
    if (registers < 0 || registers > MOST_REGISTERS || stores > 0) {
        fail_msg("%s: %s takes %d registers and spills %d bytes", where, name, registers, stores);
    }
    out->registers = registers > out->registers ? registers : out->registers;
    out->shared = shared > out->shared ? shared : out->shared;
}

#define KERNEL(name) #name,
static const char *const names[] = {BL_CUDA_KERNELS(KERNEL)};
#undef KERNEL
#define KERNELS (sizeof names / sizeof *names)

static const int architectures[] = {80, 86, 89, 90, 100, 120};
#define ARCHITECTURES (sizeof architectures / sizeof *architectures)

static row rows[KERNELS][ARCHITECTURES];

static void compile(size_t which, int bf16) {
    int architecture = architectures[which];
    char arch[48], element[32], where[64];
    const char *const options[] = {arch, element, "--std=c++17", "--ptxas-options=-v"};
    bl_rtc_program program;
    size_t bytes = 0;
    snprintf(arch, sizeof arch, "--gpu-architecture=sm_%d", architecture);
    snprintf(element, sizeof element, "-DELEMENT_BF16=%d", bf16);
    snprintf(where, sizeof where, "sm_%d, %s", architecture, bf16 ? "bf16" : "f32");
    assert_int_equal(libs.rtc.nvrtcCreateProgram(&program, bl_cuda_kernels_text, "ballast.cu", 0, NULL, NULL),
                     0);
    bl_rtc_result result = libs.rtc.nvrtcCompileProgram(program, 4, options);
    assert_int_equal(libs.rtc.nvrtcGetProgramLogSize(program, &bytes), 0);
    char *log = calloc(bytes + 1, 1);
    assert_int_equal(libs.rtc.nvrtcGetProgramLog(program, log), 0);
    if (result || strstr(log, "warning")) {
        fail_msg("%s: %s", where, log);
    }
    for (size_t i = 0; i < KERNELS; i++) {
        read_log(log, names[i], &rows[i][which], where);
    }
    free(log);
    assert_int_equal(libs.rtc.nvrtcDestroyProgram(&program), 0);
}

static void every_architecture(void **state) {
    (void)state;
    compile(0, 0);
    for (size_t i = 0; i < ARCHITECTURES; i++) {
        compile(i, 1);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_architecture)};
    bl_error err = {0};
    (void)argv;
    if (bl_cuda_libraries_open(&libs, &err)) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (size_t i = 0; i < KERNELS && argc > 1; i++) {
        int shared = 0;
        printf("| %s |", names[i]);
        for (size_t k = 0; k < ARCHITECTURES; k++) {
            printf(" %d |", rows[i][k].registers);
            shared = rows[i][k].shared > shared ? rows[i][k].shared : shared;
        }
        printf(" %d |\n", shared);
    }
    return failed;
}
