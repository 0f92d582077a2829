/* Devices by name: those that are built in, and plugins. */
#ifndef BALLAST_DEVICE_OPEN_OPEN_H
#define BALLAST_DEVICE_OPEN_OPEN_H

#include "device/cpu/cpu.h"
#include "device/device.h"

/* Opens "cpu", "sim:FILE" (a described machine), or any other NAME or NAME:WHICH by the plugin
 * `ballast-NAME.so`: in the folders of $BALLAST_PLUGINS (separated by colons) where that is set, else beside
 * the library. `cpu` is for the device of that name; its log is every device's. A plugin stays in memory
 * until the process ends. Owner: caller, bl_device_close. BL_E_NOT_FOUND when there is no such device,
 * BL_E_DEVICE when a plugin cannot be loaded or is of another version. */
int bl_device_open(bl_device **out, const char *name, const bl_cpu_options *cpu, bl_error *err);

/* Whether the name is one of a machine that is not here: "sim:FILE", "cuda:FILE". It can be planned for. */
bool bl_device_described(const char *name);

#endif
