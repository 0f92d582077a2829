/* Any bytes as the file of measurements: it is used, or renamed and begun anew; then it learns, and knows. */
#include "fuzz.h"

#include "residency/run/calibration.h"

#include <fcntl.h>
#include <math.h>
#include <unistd.h>

static char path[64], aside[80];

static void remove_files(void) {
    static const char *const ends[] = {"", ".damaged", "-journal", "-wal", "-shm", ".damaged-journal"};
    char name[96];
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        snprintf(name, sizeof name, "%s%s", path, ends[i]);
        unlink(name);
    }
}

static void write_file(const uint8_t *data, size_t size) {
    if (!*path) {
        snprintf(path, sizeof path, "/tmp/ballast-fuzz-%ld.db", (long)getpid());
        snprintf(aside, sizeof aside, "%s.damaged", path);
        atexit(remove_files);
    }
    remove_files();
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    MUST(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    close(fd);
}

static bl_problem *small_problem(void) {
    bl_problem_block block = {.name = "b", .bytes = 4096, .copy_seconds = -1, .resident_at = BL_NOWHERE};
    bl_problem *p = NULL;
    double seconds = 1e-3;
    int number;
    MUST(!bl_problem_new(&p, NULL));
    MUST(!bl_problem_add_module(&number, p, "unet", "F32", &block, 1, NULL));
    MUST(!bl_problem_add_phase(&number, p, "denoise", "pipeline", 0, 1, 4096, &seconds, NULL));
    p->budget_bytes = p->memory_bytes = 1 << 20;
    p->copy_rate = 1e9;
    MUST(!bl_problem_finish(p, NULL));
    return p;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[] = {"m"};
    bl_error err = {.code = 0};
    bl_calibration *c = NULL;
    int phases = -1;
    write_file(data, size);
    MUST(!bl_calibration_open(&c, path, NULL, &err));
    bl_problem *p = small_problem();
    bl_calibration_key key = {.device = "d", .dtype = "F32", .models = names, .shapes = names};
    MUST(!bl_calibration_apply(c, &key, p, &phases, &err));
    MUST(phases >= 0 && p->copy_rate > 0 && isfinite(p->copy_rate) &&
         isfinite(p->phases[0].levels[0].pass_seconds));
    bl_problem_free(&p);
    bl_calibration_close(&c);
    return 0;
}
