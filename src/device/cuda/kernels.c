/* Our kernels: compiled by NVRTC for the card at hand, kept on disk by all that the result hangs on. Where
 * NVRTC is missing or fails, those for the oldest card that were compiled when Ballast was built. */
#include "device/cuda/internal.h"
#include "device/cuda/keep.h"
#include "device/cuda/kernels_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPTIONS 3
#define NEWEST_KNOWN 90 /* SM 9.0: what every NVRTC that is new enough compiles for */

#define KERNEL(name) #name,
static const char *const names[] = {BL_CUDA_KERNELS(KERNEL)};
#undef KERNEL

/* The first lines of what the compiler says. */
static int fail_compile(const bl_nvrtc *rtc, bl_rtc_program program, bl_rtc_result result, bl_error *err) {
    size_t bytes = 0;
    char *log = NULL;
    if (program && !rtc->nvrtcGetProgramLogSize(program, &bytes) && bytes && (log = calloc(bytes + 1, 1))) {
        rtc->nvrtcGetProgramLog(program, log);
    }
    bl_fail(err, BL_E_DEVICE, "cuda: our kernels could not be compiled: %s %.400s",
            rtc->nvrtcGetErrorString(result), log ? log : "");
    free(log);
    return BL_E_DEVICE;
}

/* Machine code for one architecture, or, `portable`, text that the driver translates for its card. */
static int compile(bl_cuda_kept *out, const bl_nvrtc *rtc, const char *const *options, bool portable,
                   bl_error *err) {
    bl_rtc_program program = NULL;
    *out = (bl_cuda_kept){0};
    bl_rtc_result result =
        rtc->nvrtcCreateProgram(&program, bl_cuda_kernels_text, "ballast.cu", 0, NULL, NULL);
    result = result ? result : rtc->nvrtcCompileProgram(program, OPTIONS, options);
    result =
        result ? result : (portable ? rtc->nvrtcGetPTXSize : rtc->nvrtcGetCUBINSize)(program, &out->count);
    int rc = 0;
    if (!result && !(out->bytes = calloc(out->count + 1, 1))) {
        rc = bl_fail_memory(err, "our kernels", out->count);
    }
    result = result || rc ? result
                          : (portable ? rtc->nvrtcGetPTX : rtc->nvrtcGetCUBIN)(program, (char *)out->bytes);
    if (result) {
        rc = fail_compile(rtc, program, result, err);
    }
    if (program) {
        rtc->nvrtcDestroyProgram(&program);
    }
    if (rc) {
        free(out->bytes);
        out->bytes = NULL;
    }
    return rc;
}

/* What the build brought along. */
static int take_built(bl_cuda_kept *out, int which, bl_error *err) {
    const char *text = bl_cuda_kernels_ptx[which];
    *out = (bl_cuda_kept){.bytes = (unsigned char *)strdup(text), .count = strlen(text)};
    return out->bytes ? 0 : bl_fail_memory(err, "our kernels", strlen(text));
}

/* A card that is newer than NVRTC gets what the oldest one would. */
static int compile_for(bl_cuda_kept *out, bl_cuda *c, int which, const char **options, bl_error *err) {
    bool built = bl_cuda_kernels_ptx[which];
    if (!c->libs->nvrtc) {
        return built ? take_built(out, which, err)
                     : bl_fail(err, BL_E_UNSUPPORTED,
                               "cuda: NVRTC is missing, and this build brought no kernels along: run `make "
                               "cuda-libs`");
    }
    int rc = compile(out, &c->libs->rtc, options, false, err);
    if (rc == BL_E_DEVICE && c->card.major * 10 + c->card.minor > NEWEST_KNOWN) {
        const char *given = options[0];
        options[0] = "--gpu-architecture=compute_80";
        rc = compile(out, &c->libs->rtc, options, true, err);
        options[0] = given;
    }
    if (rc == BL_E_DEVICE && built) {
        bl_log_line(c->head.log, BL_LOG_WARNING, "%s; those of the build are taken",
                    err ? err->message : "cuda: our kernels could not be compiled");
        rc = take_built(out, which, err);
    }
    return rc;
}

static int load_module(bl_cuda *c, int which, const bl_cuda_kept *x, bl_error *err) {
    int rc = bl_cuda_check(c, c->libs->cu.cuModuleLoadData(&c->module[which], x->bytes), "our kernels", err);
    for (int i = 0; i < BL_KERNEL_COUNT && !rc; i++) {
        rc = bl_cuda_check(c,
                           c->libs->cu.cuModuleGetFunction(&c->kernel[which][i], c->module[which], names[i]),
                           names[i], err);
    }
    if (rc && c->module[which]) {
        c->libs->cu.cuModuleUnload(c->module[which]);
        c->module[which] = NULL;
    }
    return rc;
}

int bl_cuda_kernels_open(bl_cuda *c, bl_dtype dtype, bl_error *err) {
    int which = dtype == BL_BF16;
    if (c->module[which]) {
        return 0;
    }
    char architecture[48], element[32];
    const char *options[OPTIONS] = {architecture, element, "--std=c++17"};
    snprintf(architecture, sizeof architecture, "--gpu-architecture=sm_%d%d", c->card.major, c->card.minor);
    snprintf(element, sizeof element, "-DELEMENT_BF16=%d", which);
    uint64_t key = bl_cuda_hash(BL_CUDA_HASH, bl_cuda_kernels_text, strlen(bl_cuda_kernels_text));
    for (int i = 0; i < OPTIONS; i++) {
        key = bl_cuda_hash(key, options[i], strlen(options[i]) + 1);
    }
    key = bl_cuda_hash(key, &c->libs->nvrtc, sizeof c->libs->nvrtc);
    bl_cuda_kept x;
    bool kept = bl_cuda_keep_read(&x, key, "cubin");
    int rc = kept ? 0 : compile_for(&x, c, which, options, err);
    rc = rc ? rc : load_module(c, which, &x, err);
    if (rc && kept && !c->lost) { /* a file that is whole and yet no image of this card's */
        free(x.bytes);
        kept = false;
        rc = compile_for(&x, c, which, options, err);
        rc = rc ? rc : load_module(c, which, &x, err);
    }
    if (!rc && !kept && c->libs->nvrtc) {
        bl_cuda_keep_write(&x, key, "cubin");
    }
    free(x.bytes);
    return rc;
}

void bl_cuda_kernels_close(bl_cuda *c) {
    for (int i = 0; i < 2; i++) {
        if (c->module[i]) {
            c->libs->cu.cuModuleUnload(c->module[i]);
        }
    }
}

static int launch(const bl_cuda_running *r, bl_cuda_kernel kernel, const void *args, int64_t blocks,
                  unsigned threads, bl_error *err) {
    union {
        const void *in;
        void *out;
    } u = {.in = args}; /* CUDA only reads it */
    if (blocks <= 0 || blocks > INT32_MAX) {
        return bl_fail(err, BL_E_UNSUPPORTED, "cuda: %s over %lld blocks", names[kernel], (long long)blocks);
    }
    bl_cu_function f = r->c->kernel[r->x->graph->dtype == BL_BF16][kernel];
    return bl_cuda_check(
        r->c,
        r->c->libs->cu.cuLaunchKernel(f, (unsigned)blocks, 1, 1, threads, 1, 1, 0, r->stream, &u.out, NULL),
        names[kernel], err);
}

int bl_cuda_launch(const bl_cuda_running *r, bl_cuda_kernel kernel, const void *args, int64_t count,
                   bl_error *err) {
    return launch(r, kernel, args, (count + BL_FLAT - 1) / BL_FLAT, BL_FLAT, err);
}

int bl_cuda_launch_blocks(const bl_cuda_running *r, bl_cuda_kernel kernel, const void *args, int64_t blocks,
                          bl_error *err) {
    return launch(r, kernel, args, blocks, BL_LANES * BL_ROWS, err);
}
