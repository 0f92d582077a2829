/* The plugin's one exported function. */
#include "device/cuda/cuda.h"
#include "device/plugin.h"

static int open_cuda(bl_device **out, const char *which, const bl_log *log, bl_error *err) {
    *out = NULL;
    const bl_cuda_libs *libs;
    int rc = bl_cuda_libs_open(&libs, err);
    return rc ? rc : bl_cuda_open(out, libs, which, log, err);
}

__attribute__((visibility("default"))) bl_plugin_entry ballast_plugin;

const bl_plugin *ballast_plugin(void) {
    static const bl_plugin plugin = {.version = BL_DEVICE_VERSION, .open = open_cuda};
    return &plugin;
}
