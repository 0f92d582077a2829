/* How a device comes from outside: a shared object `ballast-NAME.so` whose one exported function gives this
 * struct. It is built from the headers of the library that it belongs to, and brings what it uses of core/
 * and graph/ along, hidden. */
#ifndef BALLAST_DEVICE_PLUGIN_H
#define BALLAST_DEVICE_PLUGIN_H

#include "device/device.h"

typedef struct bl_plugin {
    uint32_t version; /* BL_DEVICE_VERSION; nothing behind it is read when it is another one */
    /* Opens the device. `which`: what stands behind the colon of "cuda:1"; "" without one. Owner: caller,
     * bl_device_close. */
    int (*open)(bl_device **out, const char *which, const bl_log *log, bl_error *err);
} bl_plugin;

/* The exported function's name and type. The struct is the plugin's, static storage. */
#define BL_PLUGIN_ENTRY "ballast_plugin"
typedef const bl_plugin *bl_plugin_entry(void);

#endif
