/* What placing weights costs, mode by mode, as a table in Markdown:
 *     bench_offload DEVICE SIZE STEPS HIRES_STEPS NAME=MODEL[:FRACTION] ...
 * DEVICE is cpu, cuda, or sim:FILE or cuda:FILE, which is only planned for. A picture is SIZE x SIZE,
 * then 1.5 times that; each encodes its prompt, as one that is new. A cell is the median of
 * three pictures after one that does not count, in a process that has just opened the model: seconds of wall
 * clock, in brackets seconds of copying and GB copied (of a plan: seconds on the device, GB copied). FRACTION
 * (0.1) of the memory is the small budget; where a mode cannot work with so little it gets the least that
 * works. What was taken is said below the table. */
#include <ballast.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { warm_ups = 1, runs = 3 };

typedef struct column {
    const char *title, *offload;
    int fit_check;
    int small; /* at the small budget */
} column;

static const column columns[] = {{"reactive balanced", "balanced", 0, 0},
                                 {"+ fit check", "balanced", 1, 0},
                                 {"everything resident", "none", 1, 0},
                                 {"fit check, small budget", "balanced", 1, 1},
                                 {"auto", "auto", 1, 0},
                                 {"auto, small budget", "auto", 1, 1}};
enum { column_count = sizeof columns / sizeof *columns };

typedef struct work {
    const char *device, *cache_dir;
    int size, steps, hires_steps;
    char name[64], path[4096];
    double fraction;
} work;

typedef struct cell {
    double seconds, copy_seconds, moved_bytes, budget_bytes; /* budget: 0 where it is not the fraction */
    int ok;
    char why[256];
} cell;

static int is_planned(const work *w) {
    return !strncmp(w->device, "sim:", 4) || strpbrk(w->device, "/.");
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double number(const json_t *object, const char *key) {
    return json_number_value(json_object_get(object, key));
}

static void set_options(ballast_generate_options *o, const work *w) {
    ballast_generate_options_init(o, sizeof *o);
    o->prompt = "a lighthouse";
    o->width = o->height = w->size;
    o->steps = w->steps;
    o->hires_scale = 1.5;
    o->hires_steps = w->hires_steps;
    o->hints = 0;
}

static int plan(json_t **out, ballast_model *model, const ballast_generate_options *o, ballast_error *err) {
    char *text = NULL;
    int result = ballast_plan(&text, NULL, model, o, NULL, err);
    *out = result ? NULL : json_loads(text, 0, NULL);
    ballast_string_free(&text);
    return result;
}

/* The least budget that works in any mode, as an option's text. */
static int least_budget(char *text, size_t room, ballast_model *model, ballast_generate_options o,
                        ballast_error *err) {
    json_t *p;
    o.offload = "auto";
    o.budget = NULL;
    int result = plan(&p, model, &o, err);
    if (!result) {
        snprintf(text, room, "%.0f", number(p, "min_budget_bytes"));
        json_decref(p);
    }
    return result;
}

static int by_seconds(const void *a, const void *b) {
    const cell *p = a, *q = b;
    return (p->seconds > q->seconds) - (p->seconds < q->seconds);
}

static int picture(cell *out, ballast_model *model, ballast_generate_options *o, int run, int planned,
                   ballast_error *err) {
    char prompt[64], *report = NULL;
    snprintf(prompt, sizeof prompt, "a lighthouse, view number %d", run);
    o->prompt = prompt;
    if (planned) {
        json_t *p;
        o->count = 2; /* the second picture and those after it */
        int result = plan(&p, model, o, err);
        if (!result) {
            *out = (cell){number(p, "seconds"), 0, number(p, "moved_bytes"), 0, 1, ""};
            json_decref(p);
        }
        return result;
    }
    double began = now();
    int result = ballast_generate(&report, model, o, err);
    double seconds = now() - began;
    if (!result) {
        json_t *object = json_loads(report, 0, NULL);
        const json_t *batch = json_array_get(json_object_get(object, "batches"), 0);
        const json_t *ledger = json_object_get(batch, "ledger");
        *out = (cell){seconds, number(ledger, "onload_seconds"), number(ledger, "moved_bytes"), 0, 1, ""};
        json_decref(object);
    }
    ballast_string_free(&report);
    return result;
}

static int run_column(cell *out, const work *w, const column *c, ballast_error *err) {
    ballast_context *context = NULL;
    ballast_model *model = NULL;
    ballast_context_options co;
    ballast_context_options_init(&co, sizeof co);
    ballast_model_options mo;
    ballast_model_options_init(&mo, sizeof mo);
    ballast_generate_options o;
    char budget[32];
    cell cells[runs];
    json_t *p = NULL;
    int planned = is_planned(w), floor = 0;
    co.device = w->device;
    co.text_cache = 0;
    co.cache_dir = w->cache_dir;
    mo.path = w->path;
    set_options(&o, w);
    o.offload = c->offload;
    o.fit_check = c->fit_check;
    int result = ballast_context_open(&context, &co, err);
    result = result ? result : ballast_model_open(&model, context, &mo, err);
    if (!result && c->small) {
        snprintf(budget, sizeof budget, "%.4f%%", 100 * w->fraction);
        o.budget = budget;
        if (plan(&p, model, &o, err) == BALLAST_E_BUDGET) {
            floor = 1;
            result = least_budget(budget, sizeof budget, model, o, err);
        }
        json_decref(p);
    }
    for (int i = planned ? warm_ups : 0; i < warm_ups + (planned ? 1 : runs) && !result; i++) {
        result = picture(&cells[i < warm_ups ? 0 : i - warm_ups], model, &o, i, planned, err);
    }
    if (!result) {
        qsort(cells, planned ? 1 : runs, sizeof *cells, by_seconds);
        *out = cells[planned ? 0 : runs / 2];
        out->budget_bytes = floor ? strtod(budget, NULL) : 0;
    }
    ballast_model_close(&model);
    ballast_context_close(&context);
    return result;
}

/* A picture's two passes once, so that plans are made from measured figures. */
static int calibrate(const work *w, ballast_error *err) {
    ballast_context *context = NULL;
    ballast_model *model = NULL;
    ballast_context_options co;
    ballast_context_options_init(&co, sizeof co);
    ballast_model_options mo;
    ballast_model_options_init(&mo, sizeof mo);
    ballast_generate_options o;
    co.cache_dir = w->cache_dir;
    mo.path = w->path;
    set_options(&o, w);
    int result = ballast_context_open(&context, &co, err);
    result = result ? result : ballast_model_open(&model, context, &mo, err);
    result = result ? result : ballast_calibrate(model, &o, err);
    ballast_model_close(&model);
    ballast_context_close(&context);
    return result;
}

/* `c` NULL: calibrates. In a process of its own, so that nobody finds what another one left. */
static int fork_column(cell *out, const work *w, const column *c) {
    int ends[2], status = 0;
    if (pipe(ends)) {
        return -1;
    }
    pid_t child = fork();
    if (child == 0) {
        cell mine = {.ok = 1};
        ballast_error err = {0};
        if (c ? run_column(&mine, w, c, &err) : calibrate(w, &err)) {
            mine = (cell){.ok = 0};
            snprintf(mine.why, sizeof mine.why, "%.*s", (int)sizeof mine.why - 1, err.message);
        }
        _exit(write(ends[1], &mine, sizeof mine) == (ssize_t)sizeof mine ? 0 : 1);
    }
    close(ends[1]);
    int got = child > 0 && read(ends[0], out, sizeof *out) == (ssize_t)sizeof *out;
    close(ends[0]);
    if (child > 0) {
        waitpid(child, &status, 0);
    }
    return got ? 0 : -1;
}

/* What the small budget was, and why a mode refused, for under the table. */
static void print_notes(const work *w, const cell *cells) {
    for (int i = 0; i < column_count; i++) {
        if (!cells[i].ok) {
            fprintf(stderr, "%s, %s: %s\n", w->name, columns[i].title, cells[i].why);
        } else if (columns[i].small) {
            fprintf(stderr, "%s, %s: %g of the memory", w->name, columns[i].title, w->fraction);
            if (cells[i].budget_bytes > 0) {
                fprintf(stderr, " does not do; taken %.2f GB, the least that does",
                        cells[i].budget_bytes * 1e-9);
            }
            fprintf(stderr, "\n");
        }
    }
}

static int print_row(const work *w) {
    cell cells[column_count] = {{0}};
    int planned = is_planned(w);
    if (!planned && (fork_column(&cells[0], w, NULL) || !cells[0].ok)) {
        fprintf(stderr, "bench_offload: %s: %s\n", w->name, cells[0].why);
        return 1;
    }
    printf("| %s |", w->name);
    for (int i = 0; i < column_count; i++) {
        cell *c = &cells[i];
        if (fork_column(c, w, &columns[i])) {
            fprintf(stderr, "bench_offload: %s, %s: the process ended early\n", w->name, columns[i].title);
            return 1;
        }
        if (!c->ok) {
            printf(" refused |");
        } else if (planned) {
            printf(" %.2f (%.1f GB) |", c->seconds, c->moved_bytes * 1e-9);
        } else {
            printf(" %.2f (%.2f s, %.1f GB) |", c->seconds, c->copy_seconds, c->moved_bytes * 1e-9);
        }
        fflush(stdout);
    }
    printf("\n");
    print_notes(w, cells);
    return 0;
}

static int read_row(work *w, char *text) {
    char *colon = strrchr(text, ':');
    if (colon) {
        w->fraction = strtod(colon + 1, NULL);
        *colon = 0;
    }
    if (sscanf(text, "%63[^=]=%4095s", w->name, w->path) != 2 || !(w->fraction > 0 && w->fraction <= 1)) {
        fprintf(stderr, "bench_offload: \"%s\" is not NAME=MODEL[:FRACTION]\n", text);
        return 2;
    }
    return 0;
}

static void remove_folder(const char *folder) {
    static const char *const files[] = {"calibration-1.db", "hashes"};
    char path[64];
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        unlink(path);
    }
    rmdir(folder);
}

int main(int argc, char **argv) {
    char folder[] =
        "/tmp/ballast-bench-XXXXXX"; /* what one process measures the next one's plans are made of */
    int result = 0;
    if (argc < 6) {
        fprintf(stderr, "usage: bench_offload DEVICE SIZE STEPS HIRES_STEPS NAME=MODEL[:FRACTION] ...\n");
        return 2;
    }
    if (!mkdtemp(folder)) {
        perror(folder);
        return 1;
    }
    printf("| model |");
    for (int i = 0; i < column_count; i++) {
        printf(" %s |", columns[i].title);
    }
    printf("\n| --- | --- | --- | --- | --- | --- | --- |\n");
    fflush(stdout);
    for (int i = 5; i < argc && !result; i++) {
        work w = {.device = argv[1],
                  .cache_dir = folder,
                  .size = (int)strtol(argv[2], NULL, 10),
                  .steps = (int)strtol(argv[3], NULL, 10),
                  .hires_steps = (int)strtol(argv[4], NULL, 10),
                  .fraction = 0.1};
        result = read_row(&w, argv[i]);
        result = result ? result : print_row(&w);
    }
    remove_folder(folder);
    return result;
}
