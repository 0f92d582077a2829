/* What reads the text for a transformer: a language model, T5 with CLIP, or CLIP alone. */
#include "checkpoint/config.h"
#include "checkpoint/detect.h"
#include "checkpoint/internal.h"

#define MISTRAL_HEAD 128 /* channels of its heads, where no configuration says */

/* ---- Qwen3, Mistral */

/* transformers 5 puts theta into an object of its own. */
static double theta_of(const json_t *config, double otherwise) {
    return bl_config_number(json_object_get(config, "rope_parameters"), "rope_theta",
                            bl_config_number(config, "rope_theta", otherwise));
}

/* The file that a language model is in. */
static const char *encoder_path(const bl_checkpoint *c) {
    return bl_safetensors_path(bl_checkpoint_module_file(c, BL_TEXT_ENCODER));
}

/* Layers that the family reads, of those that there are. */
static int take_outputs(bl_qwen3 *q, const bl_checkpoint *c, const bl_architecture *a, bl_error *err) {
    const bl_family_words *words = &a->family->words;
    q->outputs.count = words->count;
    for (int i = 0; i < words->count; i++) {
        const int k = words->taken[i];
        q->outputs.taken[i] = k > 0 ? k : q->layers + k;
        if (q->outputs.taken[i] < 1 || q->outputs.taken[i] > q->layers) {
            return bl_fail(err, BL_E_FORMAT,
                           "%.400s: a text encoder of %d layers, of which %s reads layer %d: it is another "
                           "model's; give its own with --text-encoder FILE",
                           encoder_path(c), q->layers, a->family->name, k > 0 ? k : 1);
        }
    }
    return 0;
}

static int detect_qwen3(bl_architecture *a, const bl_checkpoint *c, bl_error *err) {
    static const char *const layer[3] = {".self_attn.q_proj.weight", ".mlp.down_proj.weight",
                                         ".input_layernorm.weight"};
    const bl_module m = BL_TEXT_ENCODER;
    const json_t *config = c->modules[m].config;
    bl_qwen3 q = {.eps = (float)bl_config_number(config, "rms_norm_eps", 1e-6),
                  .theta = theta_of(config, 1e6),
                  .plain_heads = a->family->reader == BL_READER_MISTRAL};
    int queries = 0, keys = 0;
    int rc = bl_dimension(&q.vocab, c, m, 0, err, "model.embed_tokens.weight");
    rc = rc ? rc : bl_dimension(&q.width, c, m, 1, err, "model.embed_tokens.weight");
    rc = rc ? rc : bl_dimension(&q.hidden, c, m, 0, err, "model.layers.0.mlp.gate_proj.weight");
    if (q.plain_heads) {
        q.head_dim = bl_config_whole(c, m, "head_dim", MISTRAL_HEAD);
    } else {
        rc = rc ? rc : bl_dimension(&q.head_dim, c, m, 0, err, "model.layers.0.self_attn.q_norm.weight");
    }
    rc = rc ? rc : bl_dimension(&queries, c, m, 0, err, "model.layers.0.self_attn.q_proj.weight");
    rc = rc ? rc : bl_dimension(&keys, c, m, 0, err, "model.layers.0.self_attn.k_proj.weight");
    if (rc) {
        return rc;
    }
    /* a file may have left out the layers behind the last that is read: then its configuration counts them */
    q.layers = bl_config_whole(c, m, "num_hidden_layers",
                               bl_count_numbered(c, m, "model.layers.", layer, BL_MOST_LAYERS));
    q.heads = queries / q.head_dim;
    q.kv_heads = keys / q.head_dim;
    if (q.layers > BL_MOST_LAYERS) {
        return bl_fail(err, BL_E_FORMAT, "%.400s: a text encoder of %d layers is not one that Ballast knows",
                       c->path, q.layers);
    }
    if (queries % q.head_dim || keys % q.head_dim || q.kv_heads < 1 || q.heads % q.kv_heads ||
        q.head_dim % 2) {
        return bl_fail(
            err, BL_E_FORMAT,
            "%.400s: the text encoder has %d channels of queries and %d of keys in heads of %d: no "
            "known one has",
            c->path, queries, keys, q.head_dim);
    }
    rc = bl_agree_number(c, m, "num_attention_heads", q.heads, err);
    rc = rc ? rc : bl_agree_number(c, m, "num_key_value_heads", q.kv_heads, err);
    rc = rc ? rc : take_outputs(&q, c, a, err);
    a->qwen3 = q;
    return rc;
}

/* ---- T5 */

#define T5_BIAS "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"

static int detect_t5(bl_architecture *a, const bl_checkpoint *c, bl_error *err) {
    static const char *const layer[3] = {".layer.0.SelfAttention.q.weight",
                                         ".layer.1.DenseReluDense.wo.weight", ".layer.0.layer_norm.weight"};
    const bl_module m = bl_family_words_module(a->family);
    bl_t5 t = {.eps = (float)bl_config_number(c->modules[m].config, "layer_norm_epsilon", 1e-6),
               .distance = bl_config_whole(c, m, "relative_attention_max_distance", 128)};
    int queries = 0;
    int rc = bl_dimension(&t.vocab, c, m, 0, err, "shared.weight");
    rc = rc ? rc : bl_dimension(&t.width, c, m, 1, err, "shared.weight");
    rc =
        rc ? rc : bl_dimension(&t.hidden, c, m, 0, err, "encoder.block.0.layer.1.DenseReluDense.wi_0.weight");
    rc = rc ? rc : bl_dimension(&queries, c, m, 0, err, "encoder.block.0.layer.0.SelfAttention.q.weight");
    rc = rc ? rc : bl_dimension(&t.buckets, c, m, 0, err, T5_BIAS);
    rc = rc ? rc : bl_dimension(&t.heads, c, m, 1, err, T5_BIAS);
    if (rc) {
        return rc;
    }
    t.layers = bl_count_numbered(c, m, "encoder.block.", layer, BL_MOST_LAYERS);
    t.head_dim = queries / t.heads;
    if (queries % t.heads || t.buckets % 4 || t.distance <= t.buckets / 4 || t.layers < 1) {
        return bl_fail(err, BL_E_FORMAT,
                       "%.400s: the text encoder has %d channels of queries in %d heads, and %d kinds of "
                       "distances up to %d: no known T5 has",
                       c->path, queries, t.heads, t.buckets, t.distance);
    }
    a->t5 = t;
    rc = bl_agree_number(c, m, "num_layers", t.layers, err);
    rc = rc ? rc : bl_agree_number(c, m, "num_heads", t.heads, err);
    rc = rc ? rc : bl_agree_number(c, m, "relative_attention_num_buckets", t.buckets, err);
    rc = rc ? rc : bl_agree_number(c, m, "d_model", t.width, err);
    rc = rc ? rc : bl_agree_number(c, m, "d_ff", t.hidden, err);
    return rc ? rc : bl_agree_number(c, m, "d_kv", t.head_dim, err);
}

/* T5 for the rows, and CLIP, of which the denoiser reads one vector. */
static int detect_two_readers(bl_architecture *a, const bl_checkpoint *c, bl_error *err) {
    if (!bl_checkpoint_has_module(c, BL_TEXT_ENCODER) || !bl_checkpoint_has_module(c, BL_TEXT_ENCODER_2)) {
        return bl_fail(
            err, BL_E_FORMAT,
            "%.400s holds %s's transformer without both of its text encoders, CLIP and T5; give each with "
            "--text-encoder FILE",
            c->path, a->family->name);
    }
    int rc = detect_t5(a, c, err);
    rc = rc ? rc : bl_detect_text(&a->text[0], c, BL_TEXT_ENCODER, a->family, err);
    if (!rc && (a->t5.width != a->context_dim || a->text[0].width != a->flux1.pooled)) {
        rc = bl_fail(err, BL_E_FORMAT,
                     "%.400s: the transformer expects rows of width %d and a vector of %d of the text, its "
                     "encoders give %d and %d",
                     c->path, a->context_dim, a->flux1.pooled, a->t5.width, a->text[0].width);
    }
    return rc;
}

/* Is it as diffusers writes it? */
static bool in_folder(const bl_checkpoint *c, bl_module m) {
    return c->modules[m].given ? c->modules[m].config != NULL : c->folder;
}

/* One of two encoders of CLIP's kind, of which rows and a vector are read. L's is projected by what a folder
 * has: in other files its authors, ComfyUI and diffusers take it as it is. */
static int detect_clip(bl_architecture *a, const bl_checkpoint *c, int e, bl_error *err) {
    const bl_module m = e ? BL_TEXT_ENCODER_2 : BL_TEXT_ENCODER;
    const bl_family_encoder *rules = &a->family->encoder[e];
    bl_text_architecture *t = &a->text[e];
    if (!bl_checkpoint_has_module(c, m)) {
        return bl_fail(err, BL_E_FORMAT,
                       "%.400s holds %s's transformer but no %s, which is CLIP's %s; give it with "
                       "--text-encoder FILE",
                       c->path, a->family->name, bl_module_name(m), e ? "G" : "L");
    }
    int rc = bl_detect_text(t, c, m, a->family, err);
    if (!rc && (e || (in_folder(c, m) && bl_has_tensor(c, m, "text_projection.weight")))) {
        rc = bl_dimension(&t->projection, c, m, 0, err, "text_projection.weight");
    }
    t->pad_token = rules->pad_token;
    t->context_skip = rules->context_skip;
    t->pools_largest = bl_config_whole(c, m, "eos_token_id", 0) == 2;
    return rc;
}

/* Both of CLIP, side by side, and T5, if it is there. */
static int detect_three_readers(bl_architecture *a, const bl_checkpoint *c, bl_error *err) {
    int rc = detect_clip(a, c, 0, err);
    rc = rc ? rc : detect_clip(a, c, 1, err);
    if (!rc && bl_checkpoint_has_module(c, bl_family_words_module(a->family))) {
        rc = detect_t5(a, c, err);
    }
    const int width = a->text[0].width + a->text[1].width,
              pooled = bl_text_vector_dim(&a->text[0]) + bl_text_vector_dim(&a->text[1]);
    if (!rc && (width > a->context_dim || pooled != a->sd3.pooled ||
                (a->t5.layers && a->t5.width != a->context_dim))) {
        rc = bl_fail(
            err, BL_E_FORMAT,
            "%.400s: the transformer expects rows of width %d and a vector of %d of the text; both CLIPs "
            "together give %d and %d, T5 gives rows of %d: give its own with --text-encoder FILE",
            c->path, a->context_dim, a->sd3.pooled, width, pooled, a->t5.width);
    }
    return rc;
}

/* ---- the whole */

int bl_detect_reader(bl_architecture *a, const bl_checkpoint *c, bl_error *err) {
    if (a->family->reader == BL_READER_T5) {
        return a->family->encoders == 2 ? detect_three_readers(a, c, err) : detect_two_readers(a, c, err);
    }
    if (!bl_checkpoint_has_module(c, BL_TEXT_ENCODER)) {
        return bl_fail(err, BL_E_FORMAT,
                       "%.400s holds %s's transformer but no text encoder; give one with --text-encoder FILE",
                       c->path, a->family->name);
    }
    int rc = detect_qwen3(a, c, err);
    const int width = a->qwen3.width * a->qwen3.outputs.count;
    return rc || width == a->context_dim
               ? rc
               : bl_fail(err, BL_E_FORMAT,
                         "%.400s: a text encoder of width %d; the transformer of %.300s reads one of %d: "
                         "give its "
                         "own with --text-encoder FILE",
                         encoder_path(c), a->qwen3.width, c->path, a->context_dim / a->qwen3.outputs.count);
}
