/* What a second prompt costs in a process that has made a picture:
 *     bench_prompts MODEL ENCODER VAE SIZE STEPS[,STEPS] BUDGET [DTYPE]
 * STEPS: of both, or of each. BUDGET: "" is what is taken where nobody says anything. Prints a line of JSON a
 * prompt: seconds, those of its plan and their bound, bytes moved, what the process had at most in memory so
 * far, and a sum of the picture, which is the same for the same bits. */
#include <ballast.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* FNV-1a of the picture's bytes. */
static int take(void *payload, const ballast_image *image) {
    uint64_t *sum = payload;
    *sum = 14695981039346656037u;
    for (size_t i = 0; i < 3 * (size_t)image->width * (size_t)image->height; i++) {
        *sum = (*sum ^ image->rgb[i]) * 1099511628211u;
    }
    return 0;
}

static double number(const json_t *batch, const char *part, const char *name) {
    return json_number_value(json_object_get(json_object_get(batch, part), name));
}

static int one(ballast_model *model, ballast_generate_options *o, const char *prompt, ballast_error *err) {
    char *report = NULL;
    uint64_t sum = 0;
    o->prompt = prompt;
    o->payload = &sum;
    if (ballast_generate(&report, model, o, err)) {
        return 1;
    }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    json_t *root = json_loads(report, 0, NULL), *batch = json_array_get(json_object_get(root, "batches"), 0);
    const json_t *ledger = json_object_get(batch, "ledger");
    char *stages = json_dumps(json_object_get(ledger, "stages"), JSON_COMPACT | JSON_REAL_PRECISION(4));
    printf("{\"seconds\": %.3f, \"plan_seconds\": %.3f, \"bound_seconds\": %.3f, \"moved_bytes\": %.0f, "
           "\"peak_bytes\": %.0f, \"peak_rss_bytes\": %.0f, \"sum\": \"%016llx\", \"stages\": %s}\n",
           number(batch, "ledger", "seconds"), number(batch, "plan", "seconds"),
           number(batch, "plan", "bound_seconds"), number(batch, "ledger", "moved_bytes"),
           number(batch, "plan", "peak_bytes"), (double)usage.ru_maxrss * 1024, (unsigned long long)sum,
           stages ? stages : "{}");
    fflush(stdout);
    free(stages);
    json_decref(root);
    ballast_string_free(&report);
    return 0;
}

int main(int argc, char **argv) {
    ballast_error err = {0};
    ballast_context *context = NULL;
    ballast_model *model = NULL;
    if (argc < 7) {
        fprintf(stderr, "usage: bench_prompts MODEL ENCODER VAE SIZE STEPS[,STEPS] BUDGET [DTYPE]\n");
        return 2;
    }
    ballast_context_options co;
    ballast_context_options_init(&co, sizeof co);
    ballast_model_options mo;
    ballast_model_options_init(&mo, sizeof mo);
    ballast_generate_options o;
    ballast_generate_options_init(&o, sizeof o);
    const char *encoder = argv[2];
    co.cache_dir = "";
    mo.path = argv[1];
    mo.text_encoder_paths = &encoder;
    mo.text_encoder_count = 1;
    mo.vae_path = argv[3];
    mo.dtype = argc > 7 ? argv[7] : NULL;
    o.width = o.height = (int)strtol(argv[4], NULL, 10);
    char *more;
    o.steps = (int)strtol(argv[5], &more, 10);
    const int then = *more == ',' ? (int)strtol(more + 1, NULL, 10) : o.steps;
    o.budget = *argv[6] ? argv[6] : NULL;
    o.seed = 1;
    o.image = take;
    int failed = ballast_context_open(&context, &co, &err) ||
                 ballast_model_open(&model, context, &mo, &err) ||
                 one(model, &o, "a lighthouse at dusk", &err);
    if (!failed) {
        o.steps = then;
        failed = one(model, &o, "a red fox in the snow", &err);
    }
    if (failed) {
        fprintf(stderr, "bench_prompts: %s\n", err.message);
    }
    ballast_model_close(&model);
    ballast_context_close(&context);
    return failed;
}
