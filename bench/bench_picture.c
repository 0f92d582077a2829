/* What one picture costs from the start of the process:
 *     bench_picture MODEL SIZE STEPS CFG [DTYPE [THREADS]]
 * Prints one line of JSON. start_seconds: from the process's start to the end of the first step, less a step
 * (the second one's seconds). peak_rss_bytes against planned_bytes: packed weights + arena. */
#include <ballast.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static double clock_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* When this process began, on the same clock, to a hundredth of a second; below 0: not known. */
static double process_start(void) {
    char text[4096];
    FILE *f = fopen("/proc/self/stat", "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f) {
        fclose(f);
    }
    text[n] = 0;
    char *p = strrchr(text, ')'); /* ends field 2, which may hold blanks; the 22nd is wanted */
    for (int field = 2; p && field < 22; field++) {
        p = strchr(p + 1, ' ');
    }
    return p ? strtod(p, NULL) / (double)sysconf(_SC_CLK_TCK) : -1;
}

typedef struct marks {
    double denoise, step[3]; /* when denoising began, and its first steps ended */
} marks;

static int on_progress(void *payload, const ballast_progress *p) {
    marks *m = payload;
    if (!strcmp(p->stage, "denoise")) {
        double *mark = p->step == 0 ? &m->denoise : p->step < 3 ? &m->step[p->step] : NULL;
        if (mark && *mark == 0) {
            *mark = clock_seconds();
        }
    }
    return 0;
}

static json_int_t planned_bytes(const json_t *report) {
    const json_t *batch = json_array_get(json_object_get(report, "batches"), 0);
    return json_integer_value(json_object_get(json_object_get(batch, "plan"), "peak_bytes"));
}

int main(int argc, char **argv) {
    ballast_error err = {0};
    ballast_context *context = NULL;
    ballast_model *model = NULL;
    marks m = {0};
    char *report = NULL;
    if (argc < 5) {
        fprintf(stderr, "usage: bench_picture MODEL SIZE STEPS CFG [DTYPE [THREADS]]\n");
        return 2;
    }
    double began = process_start();
    ballast_context_options co;
    ballast_context_options_init(&co, sizeof co);
    ballast_model_options mo;
    ballast_model_options_init(&mo, sizeof mo);
    ballast_generate_options o;
    ballast_generate_options_init(&o, sizeof o);
    co.threads = argc > 6 ? (int)strtol(argv[6], NULL, 10) : 0;
    co.cache_dir = "";
    mo.path = argv[1];
    mo.dtype = argc > 5 ? argv[5] : NULL;
    o.prompt = "a lighthouse at dusk";
    o.width = o.height = (int)strtol(argv[2], NULL, 10);
    o.steps = (int)strtol(argv[3], NULL, 10);
    o.cfg = strtod(argv[4], NULL);
    o.progress = on_progress;
    o.payload = &m;
    if (!ballast_context_open(&context, &co, &err) && !ballast_model_open(&model, context, &mo, &err) &&
        !ballast_generate(&report, model, &o, &err)) {
        struct rusage usage;
        getrusage(RUSAGE_SELF, &usage);
        json_t *object = json_loads(report, 0, NULL);
        double rss = (double)usage.ru_maxrss * 1024, planned = (double)planned_bytes(object);
        double step = m.step[2] - m.step[1];
        printf("{\"start_seconds\": %.3f, \"to_denoise_seconds\": %.3f, \"first_step_seconds\": %.3f, "
               "\"step_seconds\": %.3f, \"seconds\": %.3f, \"peak_rss_bytes\": %.0f, "
               "\"planned_bytes\": %.0f}\n",
               m.step[1] - began - step, m.denoise - began, m.step[1] - m.denoise, step,
               clock_seconds() - began, rss, planned);
        json_decref(object);
    } else {
        fprintf(stderr, "bench_picture: %s\n", err.message);
    }
    ballast_string_free(&report);
    ballast_model_close(&model);
    ballast_context_close(&context);
    return err.code ? 1 : 0;
}
