/* The plugin's one exported function. */
#include "device/cuda/cuda.h"
#include "device/plugin.h"

#include <stdlib.h>
#include <string.h>

static int describe(bl_device **out, const char *path, const bl_log *log, bl_error *err) {
    *out = NULL;
    bl_cuda_libs *libs = calloc(1, sizeof *libs);
    bl_error none = {0};
    if (!libs) {
        return bl_fail_memory(err, "the cuda device", sizeof *libs);
    }
    if (!bl_cuda_stub_open() || bl_cuda_libraries_open(libs, &none)) {
        *libs = (bl_cuda_libs){0};
        bl_log_line(log, BL_LOG_DEBUG, "%s",
                    none.message[0] ? none.message : "cuda: neither a driver nor the toolkit's stub of one");
    }
    return bl_cuda_describe(out, libs, path, log, err);
}

static int open_cuda(bl_device **out, const char *which, const bl_log *log, bl_error *err) {
    *out = NULL;
    const bl_cuda_libs *libs;
    if (strpbrk(which, "/.")) {
        return describe(out, which, log, err);
    }
    int rc = bl_cuda_libs_open(&libs, err);
    return rc ? rc : bl_cuda_open(out, libs, which, log, err);
}

__attribute__((visibility("default"))) bl_plugin_entry ballast_plugin;

const bl_plugin *ballast_plugin(void) {
    static const bl_plugin plugin = {.version = BL_DEVICE_VERSION, .open = open_cuda};
    return &plugin;
}
