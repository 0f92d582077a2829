#include "pipeline/eval.h"

#include "device/run_once.h"
#include "model/autoencoder_kl.h"
#include "model/clip_text.h"
#include "model/taesd.h"
#include "model/unet.h"
#include "model/weights.h"
#include "pipeline/eval_flux.h"
#include "pipeline/eval_zimage.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define END_TOKEN 49407

/* Everything written so far. */
typedef struct results {
    bl_tensor_data *tensors; /* names and data are owned */
    int count, room;
} results;

/* One case of the input file in work. */
typedef struct work {
    const bl_eval *e;
    const bl_safetensors *file;
    const char *prefix; /* "a." or "" */
    const char **taps;  /* inner modules to keep the output of, by the file's names; ends with NULL */
    results *out;
    const bl_zimage_shape *zimage; /* of such a transformer; else NULL */
    const bl_flux1_shape *flux1;   /* likewise */
    const bl_flux2_shape *flux2;   /* likewise */
} work;

static void clear_results(results *r) {
    for (int i = 0; i < r->count; i++) {
        free((char *)(uintptr_t)r->tensors[i].name);
        free((void *)(uintptr_t)r->tensors[i].data);
    }
    free(r->tensors);
}

/* Adds a tensor; takes `data`, also on failure. */
static int add_result(results *r, const char *prefix, const char *name, float *data, int rank,
                      const int64_t *shape, bl_error *err) {
    if (r->count == r->room) {
        int room = r->room ? 2 * r->room : 32;
        bl_tensor_data *more = realloc(r->tensors, (size_t)room * sizeof *more);
        if (!more) {
            free(data);
            return bl_fail_memory(err, "the results", (unsigned long long)room * sizeof *more);
        }
        r->tensors = more;
        r->room = room;
    }
    size_t bytes = strlen(prefix) + strlen(name) + 1;
    char *full = malloc(bytes);
    if (!full || !data) {
        free(full);
        free(data);
        return bl_fail_memory(err, "a result", bytes);
    }
    snprintf(full, bytes, "%s%s", prefix, name);
    bl_tensor_data *t = &r->tensors[r->count++];
    *t = (bl_tensor_data){.name = full, .dtype = BL_F32, .rank = rank, .data = data};
    memcpy(t->shape, shape, (size_t)rank * sizeof *shape);
    return 0;
}

static const bl_file_tensor *find(const work *w, const char *name) {
    char full[512];
    snprintf(full, sizeof full, "%s%s", w->prefix, name);
    return bl_safetensors_find(w->file, full);
}

/* Shape of a tensor that must be there, with so many axes. */
static int shape_of(int64_t shape[4], const work *w, const char *name, int rank, bl_error *err) {
    const bl_file_tensor *t = find(w, name);
    if (!t) {
        return bl_fail(err, BL_E_NOT_FOUND, "%s: tensor \"%s%s\" is missing", bl_safetensors_path(w->file),
                       w->prefix, name);
    }
    bool ok = t->rank == rank;
    for (int i = 0; i < t->rank && ok; i++) {
        ok = t->shape[i] > 0 && t->shape[i] <= 1 << 24;
        shape[i] = t->shape[i];
    }
    return ok ? 0
              : bl_fail(err, BL_E_FORMAT, "%s: tensor \"%s%s\" must have %d axes, none of them empty",
                        bl_safetensors_path(w->file), w->prefix, name, rank);
}

/* Reads a tensor as F32 or I32 into a new buffer of `wanted` elements; one single element is repeated. */
static int read_as(void **out, const work *w, const char *name, bl_dtype dtype, int64_t wanted,
                   bl_error *err) {
    *out = NULL;
    const bl_file_tensor *t = find(w, name);
    if (!t) {
        return bl_fail(err, BL_E_NOT_FOUND, "%s: tensor \"%s%s\" is missing", bl_safetensors_path(w->file),
                       w->prefix, name);
    }
    size_t size = t->dtype == BL_DTYPE_COUNT ? 0 : bl_dtype_size(t->dtype);
    int64_t count = size ? (int64_t)(t->bytes / size) : 0;
    bool integer = t->dtype == BL_I64 || t->dtype == BL_I32;
    bool real = t->dtype == BL_F32 || t->dtype == BL_F16 || t->dtype == BL_BF16 || t->dtype == BL_F64;
    if ((count != wanted && count != 1) || (dtype == BL_I32 ? !integer : !real)) {
        return bl_fail(err, BL_E_FORMAT, "%s: tensor \"%s%s\" has %lld values of type %s; wanted are %lld %s",
                       bl_safetensors_path(w->file), w->prefix, name, (long long)count, t->dtype_name,
                       (long long)wanted, dtype == BL_I32 ? "I64 or I32" : "F32, F16 or BF16");
    }
    unsigned char *raw = malloc(t->bytes + 8);
    void *data = malloc((size_t)wanted * 4);
    int result = raw && data ? bl_safetensors_read(w->file, t->offset, t->bytes, raw, err)
                             : bl_fail_memory(err, "an input", t->bytes);
    if (!result && real) {
        bl_convert(data, BL_F32, raw, t->dtype, (size_t)count);
    }
    for (int64_t i = 0; i < count && !result && integer; i++) {
        int64_t v;
        int32_t narrow;
        memcpy(&narrow, raw + i * 4, 4);
        v = narrow;
        if (t->dtype == BL_I64) {
            memcpy(&v, raw + i * 8, 8);
        }
        ((int32_t *)data)[i] = v >= 0 && v <= INT32_MAX ? (int32_t)v : -1; /* refused by whoever reads it */
    }
    for (int64_t i = 1; i < wanted && !result && count == 1; i++) {
        memcpy((char *)data + i * 4, data, 4);
    }
    free(raw);
    if (result) {
        free(data);
        return result;
    }
    *out = data;
    return 0;
}

/* Names of inner modules that the input file has for this case. Owner of the list: the caller, free. */
static int find_taps(work *w, bl_error *err) {
    int count, taps = 0;
    char head[512];
    size_t length = (size_t)snprintf(head, sizeof head, "%sat.", w->prefix);
    const bl_file_tensor *all = bl_safetensors_tensors(w->file, &count);
    w->taps = calloc((size_t)count + 1, sizeof *w->taps);
    for (int i = 0; w->taps && i < count; i++) {
        if (!strncmp(all[i].name, head, length)) {
            w->taps[taps++] = all[i].name + length;
        }
    }
    return w->taps ? 0 : bl_fail_memory(err, "the inner modules", (size_t)count * sizeof *w->taps);
}

/* The shape that diffusers gives to an output: [n, c, h, w], [n, tokens, c] or [n, c]. */
static int rank_of(int64_t shape[4], const bl_tensor *t) {
    if (t->layout == BL_NCHW) {
        shape[0] = t->n, shape[1] = t->c, shape[2] = t->h, shape[3] = t->w;
        return 4;
    }
    if (t->h > 1) {
        shape[0] = t->n, shape[1] = (int64_t)t->h * t->w, shape[2] = t->c;
        return 3;
    }
    shape[0] = t->n, shape[1] = t->c;
    return 2;
}

/* Keeps an output under its name; taps stand under "at.". */
static int keep(work *w, const bl_tensor *t, float *data, bl_error *err) {
    int64_t shape[4];
    char name[BL_NAME_BYTES + 4];
    bool tapped = false;
    for (int i = 0; w->taps[i]; i++) {
        tapped = tapped || !strcmp(w->taps[i], t->name);
    }
    snprintf(name, sizeof name, "%s%s", tapped ? "at." : "", t->name);
    int rank = rank_of(shape, t);
    return add_result(w->out, w->prefix, name, data, rank, shape, err);
}

/* Each of the inner modules that the file asks for must have become an output of the graph. */
static int check_taps(const work *w, const bl_graph *g, bl_error *err) {
    for (int t = 0; w->taps[t]; t++) {
        bool there = false;
        for (int i = 0; i < g->output_count && !there; i++) {
            there = !strcmp(bl_graph_port(g, BL_OUTPUT, i)->name, w->taps[t]);
        }
        if (!there) {
            return bl_fail(err, BL_E_NOT_FOUND, "%s: \"%sat.%.200s\": %s has no inner module of this name",
                           bl_safetensors_path(w->file), w->prefix, w->taps[t], bl_module_name(w->e->module));
        }
    }
    return 0;
}

/* An input of the file, as the graph reads it, or made where it follows from the shape. */
static int take_input(void **out, const work *w, const bl_tensor *t, bl_error *err) {
    const bl_zimage_shape *s = w->zimage;
    int64_t n = bl_tensor_elements(t);
    int result = s          ? bl_eval_zimage_made(out, t, &w->e->arch->zimage, s, err)
                 : w->flux1 ? bl_eval_flux1_made(out, t, &w->e->arch->flux1, w->flux1, err)
                 : w->flux2 ? bl_eval_flux2_made(out, t, &w->e->arch->flux2, w->flux2, err)
                            : 0;
    if (result || *out) {
        return result;
    }
    n = s && !strcmp(t->name, "caption") ? n / t->h * s->caption : n;
    result = read_as(out, w, t->name, t->dtype, n, err);
    if (!result && (w->flux1 || w->flux2)) {
        bl_eval_flux_fit(*out, t);
    }
    return result || !s ? result : bl_eval_zimage_fit(out, t, s, err);
}

/* Runs the graph on inputs of the file and keeps all its outputs. `eos` is what the input of that name gets.
 */
static int run_graph(work *w, bl_graph *g, int32_t *eos, bl_error *err) {
    int ports = g->input_count + g->output_count;
    void **in = calloc((size_t)ports + 1, sizeof *in), **out = in ? in + g->input_count : NULL;
    bl_model_weights weights = {0};
    bl_merge *merge = NULL;
    int result =
        in ? check_taps(w, g, err) : bl_fail_memory(err, "inputs and outputs", (size_t)ports * sizeof *in);
    if (!result) {
        result = bl_model_weights_open(&weights, g, w->e->ckpt, err);
    }
    for (int i = 0; i < g->input_count && !result; i++) {
        const bl_tensor *t = bl_graph_port(g, BL_INPUT, i);
        if (!strcmp(t->name, "eos")) {
            in[i] = eos;
        } else {
            result = take_input(&in[i], w, t, err);
        }
        if (!result && g->module == BL_TAESD) {
            bl_taesd_clamp(in[i], in[i], (size_t)bl_tensor_elements(t));
        }
    }
    for (int i = 0; i < g->output_count && !result; i++) {
        const bl_tensor *t = bl_graph_port(g, BL_OUTPUT, i);
        out[i] = malloc((size_t)bl_tensor_bytes(t));
        result = out[i] ? 0 : bl_fail_memory(err, t->name, bl_tensor_bytes(t));
    }
    if (!result) {
        bl_source base = bl_model_source(&weights);
        result = bl_merge_new(&merge, g, &base, err);
    }
    result =
        result ? result : bl_merge_set(merge, &(bl_changes){w->e->adapters, w->e->adapter_count, NULL}, err);
    if (!result) {
        bl_source source = bl_merge_source(merge);
        result = bl_run_once(w->e->device, g, &source, NULL, (const void *const *)in, out, err);
    }
    int image = g->module == BL_TAESD && !result ? bl_graph_output(g, "image") : -1;
    if (image >= 0) {
        bl_taesd_range(out[image], (size_t)bl_tensor_elements(bl_graph_port(g, BL_OUTPUT, image)));
    }
    for (int i = 0; i < g->output_count && !result; i++) {
        result = keep(w, bl_graph_port(g, BL_OUTPUT, i), out[i], err);
        out[i] = NULL;
    }
    for (int i = 0; in && i < ports; i++) {
        free(in[i] == eos ? NULL : in[i]);
    }
    bl_merge_free(&merge);
    bl_model_weights_close(&weights);
    free(in);
    return result;
}

static int eval_unet(work *w, bl_error *err) {
    int64_t s[4], c[4];
    bl_graph *g = NULL;
    int result = shape_of(s, w, "sample", 4, err);
    if (!result) {
        result = shape_of(c, w, "context", 3, err);
    }
    if (!result) {
        bl_unet_shape shape = {
            .batch = (int)s[0], .height = (int)s[2], .width = (int)s[3], .tokens = (int)c[1]};
        result = bl_unet_graph(&g, &w->e->arch->unet, shape, w->e->dtype, w->taps, err);
    }
    if (!result) {
        result = run_graph(w, g, NULL, err);
    }
    bl_graph_free(&g);
    return result;
}

static int eval_decoder(work *w, bl_error *err) {
    int64_t s[4];
    bl_graph *g = NULL;
    int result = shape_of(s, w, "z", 4, err);
    if (!result) {
        bl_vae_shape shape = {(int)s[0], (int)s[2], (int)s[3]};
        result = bl_vae_decoder_graph(&g, &w->e->arch->vae, shape, w->e->dtype, w->taps, err);
    }
    if (!result) {
        result = run_graph(w, g, NULL, err);
    }
    bl_graph_free(&g);
    return result;
}

static int eval_flux1(work *w, bl_error *err) {
    int64_t s[4], c[4];
    bl_graph *g = NULL;
    int result = shape_of(s, w, "latents", 4, err);
    result = result ? result : shape_of(c, w, "context", 3, err);
    const bl_flux1_shape shape =
        result ? (bl_flux1_shape){0}
               : (bl_flux1_shape){
                     .batch = (int)s[0], .height = (int)s[2], .width = (int)s[3], .tokens = (int)c[1]};
    result = result ? result : bl_flux1_graph(&g, &w->e->arch->flux1, &shape, w->e->dtype, w->taps, err);
    w->flux1 = &shape;
    result = result ? result : run_graph(w, g, NULL, err);
    w->flux1 = NULL;
    bl_graph_free(&g);
    return result;
}

static int eval_flux2(work *w, bl_error *err) {
    int64_t s[4], c[4];
    bl_graph *g = NULL;
    int result = shape_of(s, w, "latents", 4, err);
    result = result ? result : shape_of(c, w, "context", 3, err);
    const bl_flux2_shape shape =
        result ? (bl_flux2_shape){0}
               : (bl_flux2_shape){
                     .batch = (int)s[0], .height = (int)s[2], .width = (int)s[3], .tokens = (int)c[1]};
    result = result ? result : bl_flux2_graph(&g, &w->e->arch->flux2, &shape, w->e->dtype, w->taps, err);
    w->flux2 = &shape;
    result = result ? result : run_graph(w, g, NULL, err);
    w->flux2 = NULL;
    bl_graph_free(&g);
    return result;
}

static int eval_zimage(work *w, bl_error *err) {
    int64_t s[4], c[4];
    bl_graph *g = NULL;
    int result = shape_of(s, w, "latents", 4, err);
    result = result ? result : shape_of(c, w, "caption", 3, err);
    const bl_zimage_shape shape =
        result ? (bl_zimage_shape){0}
               : (bl_zimage_shape){
                     .batch = (int)s[0], .height = (int)s[2], .width = (int)s[3], .caption = (int)c[1]};
    result = result ? result : bl_zimage_graph(&g, &w->e->arch->zimage, &shape, w->e->dtype, w->taps, err);
    w->zimage = &shape;
    result = result ? result : run_graph(w, g, NULL, err);
    w->zimage = NULL;
    bl_graph_free(&g);
    return result;
}

static int eval_transformer(work *w, bl_error *err) {
    const bl_net net = w->e->arch->family->net;
    return net == BL_NET_FLUX1   ? eval_flux1(w, err)
           : net == BL_NET_FLUX2 ? eval_flux2(w, err)
                                 : eval_zimage(w, err);
}

/* The case of the decoder's input and output. */
static int eval_taesd(work *w, bl_error *err) {
    int64_t s[4];
    bl_graph *g = NULL;
    int result = shape_of(s, w, "z", 4, err);
    if (!result) {
        bl_taesd_shape shape = {.batch = (int)s[0], .height = (int)s[2], .width = (int)s[3]};
        result = bl_taesd_graph(&g, &w->e->arch->taesd, shape, w->e->dtype, w->taps, err);
    }
    if (!result) {
        result = run_graph(w, g, NULL, err);
    }
    bl_graph_free(&g);
    return result;
}

/* Cuts the moments that were kept last into mean and log variance, clamped to [-30, 20] as diffusers does. */
static int split_moments(work *w, const char *name, bl_error *err) {
    const bl_tensor_data *moments = NULL;
    char full[512];
    snprintf(full, sizeof full, "%smoments", w->prefix);
    for (int i = 0; i < w->out->count; i++) {
        moments = strcmp(w->out->tensors[i].name, full) ? moments : &w->out->tensors[i];
    }
    if (!moments) {
        return bl_fail(err, BL_E_INTERNAL, "vae_encoder: no moments");
    }
    int64_t shape[4] = {moments->shape[0], moments->shape[1] / 2, moments->shape[2], moments->shape[3]};
    size_t half = (size_t)(shape[1] * shape[2] * shape[3]), first = strcmp(name, "mean") ? half : 0;
    float *data = malloc((size_t)shape[0] * half * sizeof *data);
    for (size_t n = 0; data && n < (size_t)shape[0]; n++) {
        for (size_t i = 0; i < half; i++) {
            float v = ((const float *)moments->data)[n * 2 * half + first + i];
            data[n * half + i] = first ? fminf(fmaxf(v, -30), 20) : v;
        }
    }
    return add_result(w->out, w->prefix, name, data, 4, shape, err);
}

static int eval_encoder(work *w, bl_error *err) {
    const int scale = bl_family_vae_downscale(w->e->arch->family);
    int64_t s[4];
    bl_graph *g = NULL;
    int result = shape_of(s, w, "image", 4, err);
    if (!result && (s[2] % scale || s[3] % scale)) {
        result =
            bl_fail(err, BL_E_FORMAT, "%s: tensor \"%simage\" is %lld x %lld; both must be multiples of %d",
                    bl_safetensors_path(w->file), w->prefix, (long long)s[2], (long long)s[3], scale);
    }
    if (!result) {
        bl_vae_shape shape = {(int)s[0], (int)(s[2] / scale), (int)(s[3] / scale)};
        result = bl_vae_encoder_graph(&g, &w->e->arch->vae, shape, w->e->dtype, w->taps, err);
    }
    if (!result) {
        result = run_graph(w, g, NULL, err);
    }
    if (!result) {
        result = split_moments(w, "mean", err);
    }
    if (!result) {
        result = split_moments(w, "logvar", err);
    }
    bl_graph_free(&g);
    return result;
}

/* Row of the first end token of each prompt; the last row where there is none. */
static int find_ends(int32_t **out, const work *w, int64_t prompts, int64_t tokens, int vocab,
                     bl_error *err) {
    *out = NULL;
    void *ids = NULL;
    int32_t *eos = calloc((size_t)prompts, sizeof *eos);
    int result = eos ? read_as(&ids, w, "ids", BL_I32, prompts * tokens, err)
                     : bl_fail_memory(err, "the end tokens", 0);
    for (int64_t p = 0; p < prompts && !result; p++) {
        eos[p] = -1;
        for (int64_t i = 0; i < tokens; i++) {
            int32_t id = ((int32_t *)ids)[p * tokens + i];
            if (id < 0 || id >= vocab) {
                result = bl_fail(err, BL_E_FORMAT, "%s: tensor \"%sids\" holds %d, which is no token",
                                 bl_safetensors_path(w->file), w->prefix, id);
            }
            eos[p] = eos[p] < 0 && id == END_TOKEN ? (int32_t)i : eos[p];
        }
        eos[p] = eos[p] < 0 ? (int32_t)tokens - 1 : eos[p];
    }
    free(ids);
    if (result) {
        free(eos);
        return result;
    }
    *out = eos;
    return 0;
}

static int eval_text(work *w, bl_error *err) {
    bool second = w->e->module == BL_TEXT_ENCODER_2;
    const bl_text_architecture *t = &w->e->arch->text[second];
    int64_t s[4];
    int32_t *eos = NULL;
    bl_graph *g = NULL;
    int result = shape_of(s, w, "ids", 2, err);
    if (!result && s[1] > t->positions) {
        result = bl_fail(err, BL_E_FORMAT,
                         "%s: tensor \"%sids\" has %lld tokens a row; the encoder has %d positions",
                         bl_safetensors_path(w->file), w->prefix, (long long)s[1], t->positions);
    }
    if (!result) {
        result = find_ends(&eos, w, s[0], s[1], t->vocab, err);
    }
    if (!result) {
        bl_clip_text_outputs want = {.last_hidden_state = true,
                                     .penultimate = true,
                                     .penultimate_ln = true,
                                     .pooled = true,
                                     .text_embeds = second && t->projection};
        result =
            bl_clip_text_graph(&g, w->e->module, t, (int)s[0], (int)s[1], want, w->e->dtype, w->taps, err);
    }
    if (!result) {
        result = run_graph(w, g, eos, err);
    }
    free(eos);
    bl_graph_free(&g);
    return result;
}

/* The input that every case of a module has, and how it is run. */
static const struct {
    const char *input;
    int (*run)(work *w, bl_error *err);
} kinds[BL_MODULE_COUNT] = {
    [BL_TEXT_ENCODER] = {"ids", eval_text},
    [BL_TEXT_ENCODER_2] = {"ids", eval_text},
    [BL_TRANSFORMER] = {"latents", eval_transformer},
    [BL_UNET] = {"sample", eval_unet},
    [BL_VAE_ENCODER] = {"image", eval_encoder},
    [BL_VAE_DECODER] = {"z", eval_decoder},
    [BL_TAESD] = {"z", eval_taesd},
};

/* Does this case belong to another module of the same input? */
static bool is_others(const work *w) {
    switch (w->e->module) {
    case BL_VAE_ENCODER:
        return find(w, "z") != NULL;
    case BL_TEXT_ENCODER:
        return !strcmp(w->prefix, "te2.");
    case BL_TEXT_ENCODER_2:
        return !strcmp(w->prefix, "te1.");
    default:
        return false;
    }
}

static int run_cases(const bl_eval *e, const bl_safetensors *file, results *out, bl_error *err) {
    int count, cases = 0, result = 0;
    const bl_file_tensor *all = bl_safetensors_tensors(file, &count);
    const char *input = kinds[e->module].input;
    for (int i = 0; i < count && !result; i++) {
        size_t length = strlen(all[i].name), tail = strlen(input);
        char prefix[400];
        if (length < tail || length - tail >= sizeof prefix || strcmp(all[i].name + length - tail, input) ||
            (length > tail && all[i].name[length - tail - 1] != '.')) {
            continue;
        }
        memcpy(prefix, all[i].name, length - tail);
        prefix[length - tail] = 0;
        work w = {.e = e, .file = file, .prefix = prefix, .out = out};
        if (is_others(&w)) {
            continue;
        }
        result = bl_stopping(e->stop) ? bl_fail(err, BL_E_CANCELLED, "stopped before case \"%s\"", prefix)
                                      : find_taps(&w, err);
        if (!result) {
            result = kinds[e->module].run(&w, err);
        }
        free(w.taps);
        cases++;
    }
    if (!result && !cases) {
        result = bl_fail(err, BL_E_NOT_FOUND,
                         "%s: no case for %s: there is no tensor \"%s\" and none that ends in \".%s\"",
                         bl_safetensors_path(file), bl_module_name(e->module), input, input);
    }
    return result;
}

int bl_eval_file(const bl_eval *e, const char *inputs_path, const char *outputs_path, bl_error *err) {
    bl_safetensors *file = NULL;
    results out = {0};
    const bool words = e->module <= BL_TEXT_ENCODER_3 && e->arch->family->reader != BL_READER_CLIP;
    const bool other = e->module == BL_TRANSFORMER && e->arch->family->net == BL_NET_SD3;
    if (!kinds[e->module].run || words || other) {
        return bl_fail(err, BL_E_UNSUPPORTED, "eval: the %s of %s is not run alone",
                       bl_module_name(e->module), e->arch->family->name);
    }
    int result = bl_safetensors_open(&file, inputs_path, err);
    if (!result) {
        result = run_cases(e, file, &out, err);
    }
    if (!result) {
        result = bl_safetensors_write(outputs_path, out.tensors, out.count, NULL, 0, err);
    }
    clear_results(&out);
    bl_safetensors_close(&file);
    return result;
}
