#include "device/open/open.h"

#include "device/plugin.h"
#include "device/sim/sim.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LETTERS "abcdefghijklmnopqrstuvwxyz0123456789_"
#define NAME_MAX_LETTERS 32

static int open_sim(bl_device **out, const char *path, const bl_log *log, bl_error *err) {
    bl_sim_card card;
    int rc = bl_sim_card_load(&card, path, err);
    return rc ? rc : bl_sim_open(out, &card, log, err);
}

/* The folder of the library that this function is in; "" where that is not known. */
static void own_folder(char out[PATH_MAX]) {
    Dl_info info;
    out[0] = 0;
    if (dladdr((const void *)(uintptr_t)own_folder, &info) && info.dli_fname &&
        realpath(info.dli_fname, out)) {
        char *slash = strrchr(out, '/');
        *(slash ? slash : out) = 0;
    }
}

/* Whether the file is in one of the folders, which are separated by colons; then *out is its path. */
static bool find_plugin(char out[PATH_MAX], const char *folders, const char *name) {
    while (*folders) {
        int length = (int)strcspn(folders, ":");
        int used = snprintf(out, PATH_MAX, "%.*s/ballast-%s.so", length, folders, name);
        if (length && used < PATH_MAX && !access(out, F_OK)) {
            return true;
        }
        folders += length + (folders[length] == ':');
    }
    return false;
}

static int load(const bl_plugin **out, const char *path, bl_error *err) {
    *out = NULL;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        return bl_fail(err, BL_E_DEVICE, "the plugin cannot be loaded: %.600s", dlerror());
    }
    bl_plugin_entry *entry = NULL;
    void *symbol = dlsym(library, BL_PLUGIN_ENTRY);
    memcpy(&entry, &symbol, sizeof entry); /* ISO C has no cast from data to functions */
    const bl_plugin *plugin = entry ? entry() : NULL;
    if (!plugin) {
        dlclose(library);
        return bl_fail(err, BL_E_DEVICE, "%.600s is no plugin: it has no %s", path, BL_PLUGIN_ENTRY);
    }
    if (plugin->version != BL_DEVICE_VERSION) {
        unsigned version = plugin->version;
        dlclose(library);
        return bl_fail(err, BL_E_DEVICE,
                       "%.600s is for version %u of the device contract, this library has %u: install the "
                       "one that came with it",
                       path, version, BL_DEVICE_VERSION);
    }
    *out = plugin;
    return 0;
}

static int open_plugin(bl_device **out, const char *name, const bl_log *log, bl_error *err) {
    *out = NULL;
    char plain[NAME_MAX_LETTERS + 1] = "", path[PATH_MAX], folder[PATH_MAX];
    const char *given = getenv("BALLAST_PLUGINS");
    size_t length = strspn(name, LETTERS);
    if (!length || length > NAME_MAX_LETTERS || (name[length] && name[length] != ':')) {
        return bl_fail(err, BL_E_NOT_FOUND, "device: no \"%.60s\"; there are cpu, cuda, sim:FILE and plugins",
                       name);
    }
    memcpy(plain, name, length);
    own_folder(folder);
    given = given && *given ? given : folder;
    if (!find_plugin(path, given, plain)) {
        return bl_fail(
            err, BL_E_NOT_FOUND,
            "device: no \"%.60s\"; there are cpu, cuda and sim:FILE, and no ballast-%s.so in %.600s", name,
            plain, *given ? given : "the library's folder");
    }
    const bl_plugin *plugin;
    int rc = load(&plugin, path, err);
    rc = rc ? rc : plugin->open(out, name[length] ? name + length + 1 : "", log, err);
    if (!rc && (*out)->ops->version != BL_DEVICE_VERSION) {
        bl_device_close(out);
        rc = bl_fail(err, BL_E_DEVICE, "%.600s gave a device of another version", path);
    }
    return rc;
}

bool bl_device_described(const char *name) {
    const char *which = strchr(name, ':');
    return which && (!strncmp(name, "sim:", 4) || strpbrk(which, "/."));
}

int bl_device_open(bl_device **out, const char *name, const bl_cpu_options *cpu, bl_error *err) {
    *out = NULL;
    if (!strcmp(name, "cpu")) {
        return bl_cpu_open(out, cpu, err);
    }
    if (!strncmp(name, "sim:", 4)) {
        return open_sim(out, name + 4, cpu->log, err);
    }
    return open_plugin(out, name, cpu->log, err);
}
