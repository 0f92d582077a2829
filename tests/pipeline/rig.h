/* Pictures through the public functions on the tiny checkpoints, with what the report says about them. What
 * goes wrong in here fails the running test. */
#ifndef BALLAST_TESTS_PIPELINE_RIG_H
#define BALLAST_TESTS_PIPELINE_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ballast.h"
#include "support/files.h"
#include "support/synth.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* All pictures of a request, one behind the other. Begin with {0}; rig_release. */
typedef struct rig_pictures {
    uint8_t *rgb; /* [count, height, width, 3] */
    size_t bytes;
    int count;
} rig_pictures;

static inline int rig_take(void *payload, const ballast_image *image) {
    rig_pictures *p = payload;
    size_t more = (size_t)image->width * (size_t)image->height * 3;
    p->rgb = realloc(p->rgb, p->bytes + more);
    assert_non_null(p->rgb);
    memcpy(p->rgb + p->bytes, image->rgb, more);
    p->bytes += more;
    p->count++;
    return 0;
}

static inline void rig_release(rig_pictures *p) {
    free(p->rgb);
    *p = (rig_pictures){0};
}

/* A context with one model. Its lines of warning are counted and the last one is kept. */
typedef struct rig_studio {
    ballast_context *context;
    ballast_model *model;
    int warnings;
    char warning[512];
} rig_studio;

static inline void rig_log(void *payload, int level, const char *line) {
    rig_studio *s = payload;
    if (level == BALLAST_LOG_WARNING) {
        s->warnings++;
        snprintf(s->warning, sizeof s->warning, "%s", line);
    }
}

/* Options to change before rig_open_given; nothing is kept. */
static inline void rig_options(ballast_context_options *co, ballast_model_options *mo, const char *checkpoint,
                               const char *dtype) {
    ballast_context_options_init(co, sizeof *co);
    ballast_model_options_init(mo, sizeof *mo);
    co->cache_dir = "";
    mo->path = checkpoint;
    mo->dtype = dtype;
}

static inline void rig_open_given(rig_studio *s, ballast_context_options *co,
                                  const ballast_model_options *mo) {
    ballast_error err = {0};
    *s = (rig_studio){0};
    if (!co->log) {
        co->log = rig_log;
        co->log_payload = s;
    }
    if (ballast_context_open(&s->context, co, &err) || ballast_model_open(&s->model, s->context, mo, &err)) {
        fail_msg("%s", err.message);
    }
}

/* `dtype`: as in ballast_model_options. `cache_dir`: "" for none. */
static inline void rig_open_on(rig_studio *s, const char *device, const char *checkpoint, const char *dtype,
                               const char *cache_dir) {
    ballast_context_options co;
    ballast_model_options mo;
    rig_options(&co, &mo, checkpoint, dtype);
    co.device = device;
    co.cache_dir = cache_dir;
    rig_open_given(s, &co, &mo);
}

static inline void rig_open(rig_studio *s, const char *checkpoint, const char *dtype, const char *cache_dir) {
    const char *device = getenv("BALLAST_TEST_DEVICE"); /* tools/device_check.sh sets it */
    rig_open_on(s, device ? device : "cpu", checkpoint, dtype, cache_dir);
}

/* The tiny SD 1.x in f32, with nothing kept. */
static inline void rig_open_small(rig_studio *s) {
    char checkpoint[BL_TEST_PATH];
    bl_synth_checkpoint(checkpoint, "sd15", BL_SYNTH_SINGLE);
    rig_open(s, checkpoint, "f32", "");
}

static inline void rig_close(rig_studio *s) {
    ballast_model_close(&s->model);
    ballast_context_close(&s->context);
}

/* Two small steps. The pictures go to *p. */
static inline ballast_generate_options rig_request(rig_pictures *p, int side) {
    ballast_generate_options o;
    ballast_generate_options_init(&o, sizeof o);
    o.prompt = "a photo of a red fox in the snow";
    o.negative_prompt = "blurry";
    o.width = o.height = side;
    o.steps = 2;
    o.cfg = 1;
    o.seed = 7;
    o.hints = 0;
    o.image = rig_take;
    o.payload = p;
    return o;
}

/* A second pass through pictures, so that decoding and encoding take turns with the UNet, and a second batch,
 * which begins with what the first one left on the device. */
static inline void rig_add_hires(ballast_generate_options *o) {
    o->hires_scale = 1.25;
    o->hires_upscaler = "Lanczos";
    o->count = 2;
}

/* Runs it; the report, parsed. Caller: json_decref. */
static inline json_t *rig_generate(rig_studio *s, const ballast_generate_options *o) {
    ballast_error err = {0};
    char *text = NULL;
    if (ballast_generate(&text, s->model, o, &err)) {
        fail_msg("offload %s, budget %s: %s", o->offload, o->budget, err.message);
    }
    json_t *report = json_loads(text, 0, NULL);
    assert_non_null(report);
    ballast_string_free(&text);
    return report;
}

/* The same where only the pictures matter. */
static inline void rig_make(rig_studio *s, const ballast_generate_options *o) {
    json_decref(rig_generate(s, o));
}

/* A whole number of a report's batch: rig_figure(report, 0, "plan", "peak_bytes"). */
static inline uint64_t rig_figure(json_t *report, int batch, const char *part, const char *name) {
    json_t *b = json_array_get(json_object_get(report, "batches"), (size_t)batch);
    json_t *v = json_object_get(json_object_get(b, part), name);
    if (!json_is_integer(v)) {
        fail_msg("the report's batch %d has no %s.%s", batch, part, name);
    }
    return (uint64_t)json_integer_value(v);
}

/* What ballast_plan says about the request, parsed. Caller: json_decref. */
static inline json_t *rig_plan(rig_studio *s, const ballast_generate_options *o) {
    ballast_error err = {0};
    char *text = NULL;
    if (ballast_plan(&text, NULL, s->model, o, NULL, &err)) {
        fail_msg("%s", err.message);
    }
    json_t *plan = json_loads(text, 0, NULL);
    assert_non_null(plan);
    ballast_string_free(&text);
    return plan;
}

/* A whole number of it. */
static inline uint64_t rig_planned(rig_studio *s, const ballast_generate_options *o, const char *name) {
    json_t *plan = rig_plan(s, o), *v = json_object_get(plan, name);
    if (!json_is_integer(v)) {
        fail_msg("the plan has no %s", name);
    }
    uint64_t value = (uint64_t)json_integer_value(v);
    json_decref(plan);
    return value;
}

static inline void rig_same(const rig_pictures *got, const rig_pictures *wanted, const char *what) {
    if (got->bytes != wanted->bytes || memcmp(got->rgb, wanted->rgb, wanted->bytes) != 0) {
        size_t i = 0;
        while (i < got->bytes && i < wanted->bytes && got->rgb[i] == wanted->rgb[i]) {
            i++;
        }
        fail_msg("%s: another picture: %zu bytes for %zu, the first that differs is number %zu", what,
                 got->bytes, wanted->bytes, i);
    }
}

/* "123": a budget in bytes. */
typedef struct rig_size {
    char text[24];
} rig_size;

static inline rig_size rig_bytes(uint64_t bytes) {
    rig_size s;
    snprintf(s.text, sizeof s.text, "%llu", (unsigned long long)bytes);
    return s;
}

/* Copies a file. */
static inline void rig_copy(const char *to, const char *from) {
    static char piece[1 << 16];
    FILE *in = fopen(from, "re"), *out = fopen(to, "we");
    size_t n;
    assert_true(in && out);
    while ((n = fread(piece, 1, sizeof piece, in)) > 0) {
        assert_int_equal(fwrite(piece, 1, n, out), n);
    }
    fclose(in);
    assert_int_equal(fclose(out), 0);
}

/* ---- processes of their own: what a limit or a high-water mark is about */

/* Runs this program again with these arguments (the list ends with NULL) and takes the line that it prints.
 * Its exit code, or 128 + the signal that ended it. */
static inline int rig_again(char *line, size_t room, char *const *arguments) {
    int ends[2], status;
    char *argv[8] = {(char *)"again"};
    for (int i = 0; arguments[i]; i++) {
        assert_true(i + 2 < 8);
        argv[i + 1] = arguments[i];
    }
    assert_int_equal(pipe(ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (!pid) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        execv("/proc/self/exe", argv);
        _exit(127);
    }
    close(ends[1]);
    FILE *f = fdopen(ends[0], "r");
    assert_non_null(f);
    size_t used = fread(line, 1, room - 1, f);
    line[used] = '\0';
    fclose(f);
    while (waitpid(pid, &status, 0) < 0) {
        assert_int_equal(errno, EINTR);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* A line "NAME:  123 kB" of /proc/self/status in bytes. */
static inline uint64_t rig_status(const char *name) {
    FILE *f = fopen("/proc/self/status", "re");
    char line[256];
    unsigned long long kib = 0;
    size_t length = strlen(name);
    while (f && fgets(line, sizeof line, f)) {
        if (!strncmp(line, name, length) && line[length] == ':') {
            sscanf(line + length + 1, "%llu", &kib);
        }
    }
    if (f) {
        fclose(f);
    }
    return (uint64_t)kib * 1024;
}

#endif
