/* The cuda device as a plugin, on the card that is none: "fakecuda:SEED". BALLAST_FAKE_CUDA chooses what goes
 * wrong: "late=N" ends the card at its Nth work, "waits=0" forgets every wait, "memory=BYTES" is the card's,
 * "pinned=BYTES" refuses to pin more at once than that; 0: more than a page. */
#include "device/cuda/cuda.h"
#include "device/plugin.h"
#include "fake.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

static unsigned long long number_of(const char *script, const char *name, unsigned long long otherwise) {
    const char *at = script ? strstr(script, name) : NULL;
    return at ? strtoull(at + strlen(name), NULL, 10) : otherwise;
}

static int open_fake_card(bl_device **out, const char *which, const bl_log *log, bl_error *err) {
    const char *text = getenv("BALLAST_FAKE_CUDA");
    fake_script script = {.seed = strtoull(which, NULL, 10),
                          .late = (int)number_of(text, "late=", 0),
                          .without_waits = !number_of(text, "waits=", 1),
                          .refuse_pinned = number_of(text, "pinned=", ULLONG_MAX) != ULLONG_MAX,
                          .pinned_most = number_of(text, "pinned=", 0),
                          .memory = number_of(text, "memory=", 0)};
    *out = NULL;
    return bl_cuda_open(out, fake_is_open() ? fake_libs() : fake_begin(&script), "", log, err);
}

__attribute__((visibility("default"))) bl_plugin_entry ballast_plugin;

const bl_plugin *ballast_plugin(void) {
    static const bl_plugin plugin = {.version = BL_DEVICE_VERSION, .open = open_fake_card};
    return &plugin;
}
