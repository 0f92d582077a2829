/* Any text as a budget, a reserve, a mode, a range of budgets: numbers in range, or one line that names the
 * option. */
#include "fuzz.h"

#include "pipeline/placement.h"

#define MEMORY (UINT64_C(24) << 30)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    bl_error err = {.code = 0};
    char *text = text_of(data, size);
    uint64_t bytes = 0;
    int rc = bl_size_parse(&bytes, text, MEMORY, "budget", &err);
    MUST(rc ? !strncmp(err.message, "budget: ", 8) : bytes < UINT64_C(1) << 60);
    bl_budget_range range = {0};
    rc = bl_budget_range_parse(&range, text, MEMORY, &err);
    MUST(rc ? !strncmp(err.message, "sweep: ", 7)
            : range.low < range.high && range.points > 1 && range.points <= 1000);
    ballast_generate_options o = {0};
    bl_placement p;
    const char **const fields[] = {&o.offload, &o.tiled_decode, &o.budget, &o.reserve, &o.host_budget};
    bl_device_caps caps = {.name = "fuzz", .memory_bytes = MEMORY, .host_bytes = MEMORY, .host_store = true};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        *fields[i] = text;
        rc = bl_placement_parse(&p, &o, &caps, &err);
        MUST(!rc || err.message[0]);
        *fields[i] = NULL;
    }
    free(text);
    return 0;
}
