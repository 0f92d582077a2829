#include "api/api.h"

#include "checkpoint/file_kind.h"
#include "core/utf8.h"
#include "text/qwen_files.h"

#include <stdlib.h>
#include <string.h>

/* "sd_xl_base_1.0" of "/models/sd_xl_base_1.0.safetensors" and of "/models/sd_xl_base_1.0/". */
static char *name_of(const char *path) {
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/') {
        end--;
    }
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/') {
        begin--;
    }
    char *name = bl_utf8_copy(path + begin);
    if (name) {
        name[end - begin] = 0;
        const size_t cut = bl_weights_suffix(name);
        name[end - begin - (cut < end - begin ? cut : 0)] = 0;
    }
    return name;
}

/* Of the file whose decoder is used, if that is not the checkpoint's own: pictures name it. */
static char *name_of_vae(const bl_checkpoint *ckpt, const char *given) {
    const bl_safetensors *file = bl_checkpoint_module_file(ckpt, BL_VAE_DECODER);
    bool beside = file && !bl_checkpoint_is_folder(ckpt) && file != bl_checkpoint_file(ckpt, 0);
    return given ? name_of(given) : beside ? name_of(bl_safetensors_path(file)) : NULL;
}

static int find_dtype(bl_dtype *out, const char *name, const char *what, const bl_device_caps *caps,
                      bl_error *err) {
    if (!strcmp(name, "auto")) {
        *out = caps->bf16 && caps->bf16_fast ? BL_BF16 : BL_F32;
        return 0;
    }
    if (!strcmp(name, "f32")) {
        *out = BL_F32;
        return 0;
    }
    if (strcmp(name, "bf16")) {
        return bl_fail(err, BL_E_NOT_FOUND, "%s: no type \"%.40s\"; there are auto, f32 and bf16", what,
                       name);
    }
    *out = BL_BF16;
    return caps->bf16 ? 0 : bl_fail(err, BL_E_UNSUPPORTED, "%s: this device does not compute in bf16", what);
}

/* What flow matching leaves no choice of. */
static int refuse_flow(const bl_architecture *arch, const char *what, bl_error *err) {
    return arch->prediction != BL_PREDICT_FLOW
               ? 0
               : bl_fail(err, BL_E_UNSUPPORTED, "%s: %s is trained by flow matching, which has one kind",
                         what, arch->family->name);
}

static int override_prediction(bl_architecture *arch, const char *name, bl_error *err) {
    if (!name || !strcmp(name, "auto")) {
        return 0;
    }
    if (refuse_flow(arch, "prediction", err)) {
        return BL_E_UNSUPPORTED;
    }
    if (!strcmp(name, "epsilon")) {
        arch->prediction = BL_PREDICT_EPSILON;
    } else if (!strcmp(name, "v") || !strcmp(name, "v_prediction")) {
        arch->prediction = BL_PREDICT_V;
    } else {
        return bl_fail(err, BL_E_NOT_FOUND, "prediction: no \"%.40s\"; there are auto, epsilon and v", name);
    }
    arch->prediction_source = "the user";
    arch->prediction_guessed = false;
    return 0;
}

static int override_zero_snr(bl_architecture *arch, const char *name, bl_error *err) {
    if (!name || !strcmp(name, "auto")) {
        return 0;
    }
    if (strcmp(name, "on") != 0 && strcmp(name, "off") != 0) {
        return bl_fail(err, BL_E_NOT_FOUND, "zsnr: no \"%.40s\"; there are auto, on and off", name);
    }
    if (strcmp(name, "off") != 0 && refuse_flow(arch, "zsnr", err)) {
        return BL_E_UNSUPPORTED;
    }
    arch->zero_snr = !strcmp(name, "on");
    return 0;
}

static int take_text_encoders(bl_checkpoint *ckpt, const ballast_model_options *o, bl_error *err) {
    int result = 0;
    if (o->text_encoder_count && !o->text_encoder_paths) {
        return bl_fail(err, BL_E_ARGUMENT, "text_encoder_paths is NULL, though text_encoder_count is not 0");
    }
    for (size_t i = 0; i < o->text_encoder_count && !result; i++) {
        const char *path = o->text_encoder_paths[i];
        result = path && *path ? bl_checkpoint_take_text_encoders(ckpt, path, err)
                               : bl_fail(err, BL_E_ARGUMENT, "text-encoder: no file was given");
    }
    return result;
}

/* Its file, or the one that a folder has for this family. */
static int take_taesd(ballast_model *m, const char *given, bl_error *err) {
    char *path, note[BL_TAESD_NOTE];
    int result = bl_taesd_find(&path, note, given, m->arch.family, err);
    if (!result && path) {
        result = bl_checkpoint_take_taesd(m->ckpt, path, err);
        result = result ? result : bl_detect_taesd(&m->arch.taesd, m->ckpt, m->arch.family, err);
    }
    if (!result && note[0]) {
        bl_log_line(&m->context->log, BL_LOG_WARNING, "%s", note);
    }
    free(path);
    return result;
}

static int open_checkpoint(ballast_model *m, const ballast_model_options *o, bl_error *err) {
    bl_device_caps caps = bl_device_caps_of(m->context->device);
    int result = find_dtype(&m->dtype, o->dtype ? o->dtype : "auto", "dtype", &caps, err);
    if (!result) {
        m->vae_dtype = m->dtype;
        result = o->vae_dtype ? find_dtype(&m->vae_dtype, o->vae_dtype, "vae-dtype", &caps, err) : 0;
    }
    if (!result) {
        result = bl_checkpoint_open(&m->ckpt, o->path, o->vae_path, err);
    }
    if (!result) {
        result = take_text_encoders(m->ckpt, o, err);
    }
    if (!result) {
        result = bl_architecture_detect(&m->arch, m->ckpt, err);
    }
    if (!result && o->taesd_path) {
        result = take_taesd(m, o->taesd_path, err);
    }
    result = result ? result : override_prediction(&m->arch, o->prediction, err);
    result = result ? result : override_zero_snr(&m->arch, o->zsnr, err);
    if (!result && m->arch.unknown_keys[0]) {
        bl_log_line(&m->context->log, BL_LOG_WARNING,
                    "configuration that Ballast does not know is passed over: %s", m->arch.unknown_keys);
    }
    if (!result) {
        m->recommended = bl_recommended_of(m->ckpt, m->arch.family);
    }
    if (!result && m->recommended.unread) {
        bl_log_line(&m->context->log, BL_LOG_WARNING,
                    "the file's metadata %s is no number that could be recommended, and is passed over",
                    m->recommended.unread);
    }
    if (!result && m->arch.prediction_guessed) {
        bl_log_line(&m->context->log, BL_LOG_INFO, "Prediction: %s, %s; --prediction has the last word",
                    bl_prediction_name(m->arch.prediction), m->arch.prediction_source);
    }
    return result;
}

/* Words that the model was given beside CLIP's vocabulary. transformers counts what is padded with among
 * them. */
static int open_tokenizer(ballast_model *m, int encoder, bl_error *err) {
    int own = bl_checkpoint_added_tokens(m->ckpt, encoder), count = own;
    bl_added_token *words = calloc((size_t)own + 1, sizeof *words);
    if (!words) {
        return bl_fail_memory(err, "the model's own words", (unsigned long long)own * sizeof *words);
    }
    for (int i = 0; i < own; i++) {
        words[i] = bl_checkpoint_added_token(m->ckpt, encoder, i);
    }
    if (m->arch.text[encoder].pad_token == 0) {
        words[count++] = (bl_added_token){.text = "!", .id = 0};
    }
    int result =
        count ? bl_tokenizer_extend(&m->tokenizer[encoder], m->context->tokenizer, words, count, err) : 0;
    free(words);
    return result;
}

/* T5's vocabulary; a model without it is planned alone. */
static int open_pieces(ballast_model *m, bl_error *err) {
    char *path;
    int result = bl_checkpoint_vocabulary(&path, m->ckpt, bl_family_words_module(m->arch.family), err);
    if (!result && path) {
        const char *suffix = strrchr(path, '.');
        result = (suffix && !strcmp(suffix, ".model") ? bl_unigram_open_model : bl_unigram_open)(&m->pieces,
                                                                                                 path, err);
    }
    free(path);
    return result;
}

/* Qwen's, which the model's own files must not contradict. */
static int open_words(ballast_model *m, bl_error *err) {
    const bl_safetensors *file = bl_checkpoint_module_file(m->ckpt, BL_TEXT_ENCODER);
    uint64_t count = 0;
    const char *words = file ? bl_safetensors_words(file, &count) : NULL;
    char *path = NULL;
    int result = bl_byte_bpe_new(&m->words, err);
    if (result || m->arch.family->unread) { /* by it, either */
        return result;
    }
    result = bl_checkpoint_word_list(&path, m->ckpt, err);
    if (!result && path) {
        result = bl_qwen_check_file(m->words, path, err);
    }
    if (!result && words) {
        result = bl_qwen_check_words(m->words, words, count, bl_safetensors_path(file), err);
    }
    free(path);
    return result;
}

static void free_model(ballast_model *m) {
    bl_habit_forget(m);
    bl_model_hash_close(&m->hash);
    if (m->modules && m->context->encodings) {
        bl_encodings_forget(m->context->encodings, bl_modules_serial(m->modules));
    }
    bl_modules_close(&m->modules);
    bl_shelf_free(&m->shelf);
    bl_checkpoint_close(&m->ckpt);
    for (int e = 0; e < BL_FAMILY_ENCODERS; e++) {
        bl_tokenizer_free(&m->tokenizer[e]);
    }
    bl_byte_bpe_free(&m->words);
    bl_unigram_free(&m->pieces);
    free(m->name);
    free(m->vae_name);
    free(m);
}

static int open_model(ballast_model **out, ballast_context *context, const ballast_model_options *o,
                      bl_error *err) {
    ballast_model *m = calloc(1, sizeof *m);
    *out = NULL;
    if (!m) {
        return bl_fail_memory(err, "the model", sizeof *m);
    }
    m->context = context;
    atomic_init(&m->stop, BL_IDLE);
    m->name = name_of(o->path);
    int result = m->name ? open_checkpoint(m, o, err) : bl_fail_memory(err, "the model's name", 0);
    const bool clip = !result && m->arch.family->reader == BL_READER_CLIP;
    const bool pads =
        clip || (!result && m->arch.family->words.beside); /* what stands behind a text counts */
    for (int e = 0; pads && !result && e < m->arch.family->encoders; e++) {
        result = open_tokenizer(m, e, err);
    }
    if (!result && m->arch.family->reader == BL_READER_T5) {
        result = open_pieces(m, err);
    } else if (!result && !clip) {
        result = open_words(m, err);
    }
    if (!result) {
        m->vae_name = name_of_vae(m->ckpt, o->vae_path);
        bl_modules_options mo = {.memory = context->memory,
                                 .ckpt = m->ckpt,
                                 .arch = &m->arch,
                                 .dtype = m->dtype,
                                 .vae_dtype = m->vae_dtype,
                                 .vae_follows = !o->vae_dtype,
                                 .own_threads = context->own_threads,
                                 .name = m->name,
                                 .log = &context->log};
        result = bl_shelf_new(&m->shelf, &m->arch, err);
        result = result ? result : bl_modules_open(&m->modules, &mo, err);
    }
    if (result) {
        free_model(m);
        return result;
    }
    context->models++;
    *out = m;
    return 0;
}

int ballast_model_open(ballast_model **out, ballast_context *context, const ballast_model_options *options,
                       ballast_error *err) {
    ballast_model_options o;
    bl_turn turn;
    BL_NEED(out);
    *out = NULL;
    BL_NEED(context);
    BL_NEED(options);
    int result = bl_take_model_options(&o, options, err);
    if (!result && (!o.path || !*o.path)) {
        result = bl_fail(err, BL_E_ARGUMENT, "model: no file was given");
    }
    if (!result) {
        result = bl_turn_begin(&turn, context, NULL, __func__, err);
    }
    if (!result) {
        result = open_model(out, context, &o, err);
        bl_turn_end(&turn);
    }
    return result;
}

int ballast_model_close(ballast_model **model) {
    bl_turn turn;
    bl_error err;
    if (!model || !*model) {
        return 0;
    }
    ballast_context *c = (*model)->context;
    int result = bl_turn_begin(&turn, c, NULL, __func__, &err);
    if (result) {
        bl_log_line(&c->log, BL_LOG_WARNING, "%s", err.message);
        return result;
    }
    free_model(*model);
    *model = NULL;
    c->models--;
    bl_turn_end(&turn);
    return 0;
}

int ballast_model_release(ballast_model *model, ballast_error *err) {
    bl_turn turn;
    BL_NEED(model);
    int result = bl_turn_begin(&turn, model->context, NULL, __func__, err);
    if (!result) {
        bl_modules_release(model->modules);
        bl_habit_forget(model);
        bl_turn_end(&turn);
    }
    return result;
}
