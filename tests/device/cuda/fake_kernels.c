/* Modules and launches of our kernels, and NVRTC, whose images are the elements' names. */
#include "fake.h"

#include <string.h>

struct CUmod_st {
    const fake_kernel *kernels;
};

typedef struct launch {
    const fake_kernel *kernel;
    long long blocks;
    unsigned char args[160];
} launch;

static void run_kernel(void *payload) {
    const launch *l = payload;
    _Alignas(16) unsigned char args[160];
    memcpy(args, l->args, sizeof args);
    for (fake_block = 0; fake_block < l->blocks; fake_block++) {
        l->kernel->run(args);
    }
}

bl_cu_result fake_launch_kernel(bl_cu_function f, unsigned x, unsigned y, unsigned z, unsigned block_x,
                                unsigned block_y, unsigned block_z, unsigned shared, bl_cu_stream s,
                                void **arguments, void **extra) {
    bl_cu_result r = fake_enter();
    launch l = {.kernel = (const fake_kernel *)(const void *)f, .blocks = x};
    if (r || y != 1 || z != 1 || (block_x != 256 && block_x != 128) || block_y != 1 || block_z != 1 ||
        shared || extra || l.kernel->bytes > sizeof l.args) {
        return r ? r : 1;
    }
    memcpy(l.args, arguments[0], l.kernel->bytes);
    return fake_put_kernel(s, run_kernel, &l, sizeof l);
}

bl_cu_result fake_module_load(bl_cu_module *out, const void *image) {
    bl_cu_result r = fake_enter();
    static const char built[] = "// ballast "; /* what the build brings along, of either element */
    const char *text = image;
    const char *element = !strncmp(text, "fake ", 5)             ? text + 5
                          : !strncmp(text, built, strlen(built)) ? text + strlen(built)
                                                                 : "";
    bool bf16 = !strncmp(element, "bf16", 4);
    if (!r && !bf16 && strncmp(element, "f32", 3) != 0) {
        r = 200; /* no image of this card's */
    }
    *out = r ? NULL : fake_new(sizeof **out);
    if (*out) {
        (*out)->kernels = bf16 ? fake_kernels_bf16 : fake_kernels_f32;
    }
    return r;
}

bl_cu_result fake_module_unload(bl_cu_module m) {
    fake_run_all();
    fake_free(m);
    return 0;
}

bl_cu_result fake_module_function(bl_cu_function *out, bl_cu_module m, const char *name) {
    bl_cu_result r = fake_enter();
    for (const fake_kernel *k = m->kernels; !r && k->name; k++) {
        if (!strcmp(k->name, name)) {
            union {
                const void *in;
                void *out;
            } u = {.in = k};
            *out = u.out;
            return 0;
        }
    }
    return r ? r : BL_CU_NOT_FOUND;
}

/* ---- NVRTC */

static int compiled;

int fake_compiled(void) {
    return compiled;
}

struct _nvrtcProgram {
    bool bf16;
};

static bl_rtc_result rtc_version(int *major, int *minor) {
    *major = 13;
    *minor = 0;
    return 0;
}

static const char *rtc_error(bl_rtc_result r) {
    (void)r;
    return "NVRTC_ERROR_SCRIPTED";
}

static bl_rtc_result rtc_create(bl_rtc_program *out, const char *text, const char *name, int headers,
                                const char *const *texts, const char *const *names) {
    (void)name, (void)headers, (void)texts, (void)names;
    *out = NULL;
    if (fake_fails() || !strstr(text, "KERNEL(softmax")) {
        return 1;
    }
    *out = fake_new(sizeof **out);
    return 0;
}

static bl_rtc_result rtc_destroy(bl_rtc_program *p) {
    fake_free(*p);
    *p = NULL;
    return 0;
}

static bl_rtc_result rtc_compile(bl_rtc_program p, int count, const char *const *options) {
    bool unknown = false;
    compiled++;
    for (int i = 0; i < count; i++) {
        p->bf16 = p->bf16 || !strcmp(options[i], "-DELEMENT_BF16=1");
        unknown = unknown || strstr(options[i], "=sm_999");
    }
    return fake_fails() || unknown ? 6 : 0;
}

static bl_rtc_result rtc_log_size(bl_rtc_program p, size_t *bytes) {
    (void)p;
    *bytes = 8;
    return 0;
}

static bl_rtc_result rtc_log(bl_rtc_program p, char *log) {
    (void)p;
    memcpy(log, "the log", 8);
    return 0;
}

static bl_rtc_result rtc_size(bl_rtc_program p, size_t *bytes) {
    *bytes = p->bf16 ? sizeof "fake bf16" : sizeof "fake f32";
    return fake_fails() ? 7 : 0;
}

static bl_rtc_result rtc_image(bl_rtc_program p, char *image) {
    memcpy(image, p->bf16 ? "fake bf16" : "fake f32", p->bf16 ? sizeof "fake bf16" : sizeof "fake f32");
    return fake_fails() ? 7 : 0;
}

const bl_nvrtc fake_nvrtc = {.nvrtcVersion = rtc_version,
                             .nvrtcGetErrorString = rtc_error,
                             .nvrtcCreateProgram = rtc_create,
                             .nvrtcDestroyProgram = rtc_destroy,
                             .nvrtcCompileProgram = rtc_compile,
                             .nvrtcGetProgramLogSize = rtc_log_size,
                             .nvrtcGetProgramLog = rtc_log,
                             .nvrtcGetPTXSize = rtc_size,
                             .nvrtcGetPTX = rtc_image,
                             .nvrtcGetCUBINSize = rtc_size,
                             .nvrtcGetCUBIN = rtc_image};
