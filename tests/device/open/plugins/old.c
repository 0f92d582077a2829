/* A plugin of another version. What stands behind the version must not be touched. */
#include "device/plugin.h"

__attribute__((visibility("default"))) bl_plugin_entry ballast_plugin;

const bl_plugin *ballast_plugin(void) {
    static const bl_plugin plugin = {.version = BL_DEVICE_VERSION - 1};
    return &plugin;
}
