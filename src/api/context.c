#include "api/api.h"

#include "core/json_text.h"
#include "core/parallel.h"
#include "device/open/open.h"
#include "pipeline/request.h"
#include "sample/names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_ENCODINGS 100000
#define MOST_THREADS 256 /* or what the machine has, if that is more */

const char *ballast_version(void) {
    return BALLAST_VERSION;
}

void ballast_string_free(char **text) {
    if (text) {
        free(*text);
        *text = NULL;
    }
}

int bl_json_text(char **out, json_t *object, bl_error *err) {
    *out = NULL;
    char *text = bl_json_dump(object, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    json_decref(object);
    if (!text) {
        return bl_fail_memory(err, "the report", 0);
    }
    *out = text;
    return 0;
}

static void pass_log(void *payload, bl_log_level level, const char *line) {
    const ballast_context *c = payload;
    c->log_fn(c->log_payload, (int)level, line);
}

static const struct {
    const char *name;
    bl_cpu_isa isa;
} known_isas[] = {
    {"auto", BL_ISA_BEST}, {"plain", BL_ISA_PLAIN}, {"avx2", BL_ISA_AVX2}, {"avx512", BL_ISA_AVX512}};
#define ISAS (sizeof known_isas / sizeof *known_isas)

static int find_isa(bl_cpu_isa *out, const char *name, bl_error *err) {
    for (size_t i = 0; i < ISAS; i++) {
        if (!strcmp(name, known_isas[i].name)) {
            *out = known_isas[i].isa;
            return 0;
        }
    }
    return bl_fail(err, BL_E_NOT_FOUND,
                   "isa: no instruction set \"%.40s\"; there are auto, plain, avx2 and avx512", name);
}

/* oneDNN takes one limit a process: the first context's. */
static int claim_isa(bl_cpu_isa isa, const char *name, bl_error *err) {
    static atomic_int claimed = -1;
    int first = -1;
    if (atomic_compare_exchange_strong(&claimed, &first, (int)isa) || first == (int)isa) {
        return 0;
    }
    const char *theirs = "";
    for (size_t i = 0; i < ISAS; i++) {
        theirs = (int)known_isas[i].isa == first ? known_isas[i].name : theirs;
    }
    return bl_fail(err, BL_E_ARGUMENT,
                   "isa: \"%s\" after a context with \"%s\": a process computes with one choice, that of its "
                   "first context",
                   name, theirs);
}

static int check_threads(int threads, bl_error *err) {
    long processors = sysconf(_SC_NPROCESSORS_CONF);
    int most = processors > MOST_THREADS ? (int)processors : MOST_THREADS;
    return threads >= 0 && threads <= most
               ? 0
               : bl_fail(err, BL_E_ARGUMENT,
                         "threads: %d is not between 0 and %d; this machine has %ld processors", threads,
                         most, processors);
}

static int check_text_cache(size_t entries, bl_error *err) {
    return entries <= MOST_ENCODINGS ? 0
                                     : bl_fail(err, BL_E_ARGUMENT, "text-cache: %zu is not between 0 and %d",
                                               entries, MOST_ENCODINGS);
}

/* More than there are is somebody's choice, as to get the bits of another machine. It is slow, and it is
 * said. */
static void tell_threads(const ballast_context *c) {
    int processors = bl_usable_processors();
    if (c->threads > processors) {
        bl_log_line(&c->log, BL_LOG_WARNING,
                    "threads: %d take turns on %d processor%s, and wait for each other", c->threads,
                    processors, processors == 1 ? "" : "s");
    }
}

/* $XDG_CACHE_HOME/ballast or ~/.cache/ballast; NULL where neither is known or nothing is to be kept. */
static char *cache_dir(const char *given) {
    char path[4096];
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (given) {
        return *given ? strdup(given) : NULL;
    }
    if (xdg && *xdg) {
        snprintf(path, sizeof path, "%s/ballast", xdg);
    } else if (home && *home) {
        snprintf(path, sizeof path, "%s/.cache/ballast", home);
    } else {
        return NULL;
    }
    return strdup(path);
}

static int open_device(ballast_context *c, const ballast_context_options *o, bl_error *err) {
    bl_cpu_options cpu = {.threads = c->threads, .log = &c->log};
    const char *name = o->device ? o->device : "cpu", *isa = o->isa ? o->isa : "auto";
    int result = find_isa(&cpu.isa_max, isa, err);
    if (!result && !strcmp(name, "auto")) {
        bl_error none = {0};
        if (!bl_device_open(&c->device, "cuda", &cpu, &none)) {
            return 0;
        }
        /* No card, or no driver: then the CPU is what there is. All else is somebody's card that idles. */
        bl_log_line(&c->log, none.code == BL_E_NOT_FOUND ? BL_LOG_DEBUG : BL_LOG_WARNING,
                    "%s; the CPU computes", none.message);
        name = "cpu";
    }
    c->simulated = bl_device_described(name);
    if (!result && !strcmp(name, "cpu")) {
        result = claim_isa(cpu.isa_max, isa, err);
        if (!result) {
            tell_threads(c);
        }
    }
    return result ? result : bl_device_open(&c->device, name, &cpu, err);
}

static void free_context(ballast_context *c) {
    bl_tokenizer_free(&c->tokenizer);
    bl_encodings_free(&c->encodings);
    bl_place_free(&c->placement);
    bl_memory_close(&c->memory);
    bl_device_close(&c->device);
    free(c->cache_dir);
    free(c);
}

/* Where measurements are kept; makes the folder. False where nothing is kept. A described machine is not
 * measured: it looks at what there is, in case its name is that of a device that was. */
static bool calibration_path(char *path, size_t room, const ballast_context *c) {
    if (!c->cache_dir) {
        return false;
    }
    if (c->simulated) {
        int n = snprintf(path, room, "%s/" BL_CALIBRATION_FILE, c->cache_dir);
        return n > 0 && (size_t)n < room && !access(path, R_OK);
    }
    for (const char *p = c->cache_dir; *p; p++) { /* each folder on the way; those that exist are fine */
        if (*p == '/' && p > c->cache_dir) {
            snprintf(path, room, "%.*s", (int)(p - c->cache_dir), c->cache_dir);
            mkdir(path, 0755);
        }
    }
    mkdir(c->cache_dir, 0755);
    int length = snprintf(path, room, "%s/" BL_CALIBRATION_FILE, c->cache_dir);
    return length > 0 && (size_t)length < room;
}

int ballast_context_open(ballast_context **out, const ballast_context_options *options, ballast_error *err) {
    ballast_context_options o;
    BL_NEED(out);
    *out = NULL;
    int result = bl_take_context_options(&o, options, err);
    if (!result) {
        result = check_threads(o.threads, err);
    }
    result = result ? result : check_text_cache(o.text_cache, err);
    if (result) {
        return result;
    }
    ballast_context *c = calloc(1, sizeof *c);
    if (!c) {
        return bl_fail_memory(err, "the context", sizeof *c);
    }
    c->process = getpid();
    c->placement = (ballast_placement_options){.low = -1, .high = -1, .fit_check = 1};
    c->own_threads = o.threads != 0;
    c->threads = o.threads ? o.threads : bl_usable_cores();
    c->log_fn = o.log;
    c->log_payload = o.log_payload;
    c->log = (bl_log){o.log ? pass_log : NULL, c};
    c->cache_dir = cache_dir(o.cache_dir);
    int before = bl_threads();
    result = bl_start_threads(c->threads, err);
    if (!result) {
        result = open_device(c, &o, err);
    }
    if (!result) {
        char path[4096];
        bool kept = calibration_path(path, sizeof path, c);
        result = bl_memory_open(&c->memory, c->device, kept ? path : NULL, &c->log, err);
    }
    if (!result) {
        result = bl_tokenizer_new(&c->tokenizer, err);
    }
    if (!result && o.text_cache) {
        result = bl_encodings_new(&c->encodings, o.text_cache, err);
    }
    bl_set_threads(before);
    if (result) {
        free_context(c);
        return result;
    }
    *out = c;
    return 0;
}

int ballast_context_close(ballast_context **context) {
    bl_turn turn;
    bl_error err;
    if (!context || !*context) {
        return 0;
    }
    ballast_context *c = *context;
    int result = bl_turn_begin(&turn, c, NULL, __func__, &err);
    if (!result && c->models) {
        bl_turn_end(&turn);
        result = bl_fail(&err, BL_E_BUSY, "%s: %d of its models %s still open; close %s first", __func__,
                         c->models, c->models == 1 ? "is" : "are", c->models == 1 ? "it" : "them");
    }
    if (result) {
        bl_log_line(&c->log, BL_LOG_WARNING, "%s", err.message);
        return result;
    }
    bl_set_threads(turn.threads_before);
    free_context(c);
    *context = NULL;
    return 0;
}

const char *ballast_sampler_name(int index) {
    return index >= 0 && index < BL_SAMPLER_COUNT ? bl_sampler_name((bl_sampler_id)index) : NULL;
}

const char *ballast_schedule_name(int index) {
    return index >= 0 && index < BL_SCHEDULE_COUNT ? bl_schedule_name((bl_schedule_id)index) : NULL;
}

const char *ballast_upscaler_name(int index) {
    return bl_upscaler_name(index);
}
