/* Folders as diffusers writes them: a subfolder for each module with config.json and weights, in one file or
 * in shards that an index names, perhaps as a variant (variant.c). */
#include "checkpoint/json.h"
#include "checkpoint/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int bl_join_path(char out[BL_PATH_ROOM], const char *folder, const char *name, bl_error *err) {
    int n = snprintf(out, BL_PATH_ROOM, "%s%s%s", folder, *name ? "/" : "", name);
    return n < BL_PATH_ROOM ? 0 : bl_fail(err, BL_E_ARGUMENT, "path too long: %.400s...", folder);
}

/* Opens every shard that the index names, each once. */
static int open_shards(bl_checkpoint *c, const char *folder, const char *index_path, bl_error *err) {
    json_t *root, *map;
    int rc = bl_json_load(&root, index_path, err);
    if (rc) {
        return rc;
    }
    json_t *seen = json_object();
    map = json_object_get(root, "weight_map");
    if (!json_object_size(map)) {
        rc = bl_fail(err, BL_E_FORMAT, "%.400s has no \"weight_map\"", index_path);
        goto done;
    }
    const char *tensor;
    json_t *value;
    json_object_foreach(map, tensor, value) {
        const char *file = json_string_value(value);
        if (!file || !file[0] || file[0] == '.' || strchr(file, '/')) {
            rc = bl_fail(err, BL_E_FORMAT, "%.400s: tensor \"%.200s\" is not in a file of this folder",
                         index_path, tensor);
            goto done;
        }
        if (json_object_get(seen, file)) {
            continue;
        }
        char path[BL_PATH_ROOM];
        rc = bl_join_path(path, folder, file, err);
        rc = rc ? rc : bl_add_file(c, path, err);
        if (rc) {
            goto done;
        }
        json_object_set_new(seen, file, json_true());
    }
done:
    json_decref(seen);
    json_decref(root);
    return rc;
}

/* No tensor may be in two shards: which of them is meant? */
static int check_shards(const bl_checkpoint *c, const bl_module_files *p, bl_error *err) {
    for (int i = p->first_file + 1; i < p->first_file + p->file_count; i++) {
        int count, other;
        const bl_file_tensor *t = bl_safetensors_tensors(c->files[i], &count);
        for (int j = 0; j < count; j++) {
            if (bl_find_in_files(c, p->first_file, i - p->first_file, "", t[j].name, &other)) {
                return bl_fail(err, BL_E_FORMAT, "tensor \"%.200s\" is in both %.300s and %.300s", t[j].name,
                               bl_safetensors_path(c->files[other]), bl_safetensors_path(c->files[i]));
            }
        }
    }
    return 0;
}

/* Opens the weights in `folder`; *p gets their range, or stays absent if there are none. */
static int open_weights(bl_checkpoint *c, bl_module_files *p, const char *folder, bl_error *err) {
    char path[BL_PATH_ROOM];
    bl_weights_file chosen;
    int rc = bl_choose_weights(&chosen, folder, err);
    if (rc || !chosen.name[0]) {
        return rc;
    }
    rc = bl_join_path(path, folder, chosen.name, err);
    if (!rc && chosen.pickle) {
        rc = bl_fail(
            err, BL_E_UNSUPPORTED,
            "%.400s: PyTorch pickles are not read, as they can run any code; save the folder again with "
            "diffusers' save_pretrained(FOLDER, safe_serialization=True)",
            path);
    }
    if (rc) {
        return rc;
    }
    p->first_file = c->file_count;
    p->present = true;
    rc = chosen.index ? open_shards(c, folder, path, err) : bl_add_file(c, path, err);
    p->file_count = c->file_count - p->first_file;
    return rc ? rc : check_shards(c, p, err);
}

/* CLIP's and Mistral's configuration for text and pictures together holds that of the text: transformers
 * reads it so, too. */
static void take_text_config(json_t **config) {
    const char *type = json_string_value(json_object_get(*config, "model_type"));
    json_t *inner = json_object_get(*config, "text_config");
    if (type && (!strcmp(type, "clip") || !strcmp(type, "mistral3")) && json_is_object(inner)) {
        json_incref(inner);
        json_decref(*config);
        *config = inner;
    }
}

int bl_config_beside(json_t **out, const char *path, bl_error *err) {
    *out = NULL;
    char beside[BL_PATH_ROOM];
    const char *slash = strrchr(path, '/');
    if (!bl_is_weights_name(slash ? slash + 1 : path)) {
        return 0;
    }
    int n = slash ? snprintf(beside, sizeof beside, "%.*s/config.json", (int)(slash - path), path)
                  : snprintf(beside, sizeof beside, "config.json");
    if (n >= (int)sizeof beside) {
        return 0; /* no such file can be opened */
    }
    int rc = bl_json_load(out, beside, err);
    take_text_config(out);
    return rc;
}

int bl_open_text_encoder_folder(bl_checkpoint *c, bl_module_files *out, const char *folder, bl_error *err) {
    char path[BL_PATH_ROOM];
    int rc = open_weights(c, out, folder, err), file;
    if (rc || !out->present) {
        return rc;
    }
    out->naming =
        bl_find_in_files(c, out->first_file, out->file_count, "", "embeddings.token_embedding.weight", &file)
            ? BL_NAMES_CLIP_BARE
        : bl_find_in_files(c, out->first_file, out->file_count, "", "embed_tokens.weight", &file)
            ? BL_NAMES_QWEN_BARE
            : BL_NAMES_DIFFUSERS;
    static const char language[] = "language_model."; /* of Mistral, which reads pictures, too */
    if (bl_find_in_files(c, out->first_file, out->file_count, language, "model.embed_tokens.weight", &file)) {
        snprintf(out->prefix, sizeof out->prefix, "%s", language);
    }
    rc = bl_join_path(path, folder, "config.json", err);
    rc = rc ? rc : bl_json_load(&out->config, path, err);
    take_text_config(&out->config);
    return rc;
}

/* *found: were there weights? */
static int open_vae_files(bl_checkpoint *c, const char *folder, bool *found, bl_error *err) {
    static const char *const sides[] = {"encoder.", "decoder."};
    bl_module_files files = {.present = false};
    json_t *config = NULL;
    char path[BL_PATH_ROOM];
    *found = false;
    int rc = open_weights(c, &files, folder, err);
    if (rc || !files.present) {
        return rc;
    }
    rc = bl_join_path(path, folder, "config.json", err);
    rc = rc ? rc : bl_json_load(&config, path, err);
    for (int i = 0; i < 2 && !rc; i++) {
        bl_module_files *p = &c->modules[i ? BL_VAE_DECODER : BL_VAE_ENCODER], half;
        if (bl_find_vae(&half, c, files.first_file, files.file_count, "", sides[i])) {
            json_decref(p->config);
            *p = half;
            p->config = json_incref(config);
            *found = true;
        }
    }
    json_decref(config);
    return rc;
}

int bl_open_vae_folder(bl_checkpoint *c, const char *folder, bl_error *err) {
    char inner[BL_PATH_ROOM];
    bool found;
    int rc = open_vae_files(c, folder, &found, err);
    if (!rc && !found) { /* a whole pipeline's folder: its autoencoder is meant */
        rc = bl_join_path(inner, folder, "vae", err);
        rc = rc ? rc : open_vae_files(c, inner, &found, err);
    }
    if (!rc && !found) {
        rc = bl_fail(err, BL_E_NOT_FOUND, "%.400s holds no autoencoder (VAE) as safetensors", folder);
    }
    return rc;
}

int bl_open_folder(bl_checkpoint *c, const char *folder, bl_error *err) {
    char path[BL_PATH_ROOM];
    bool found;
    int rc = bl_join_path(path, folder, "model_index.json", err);
    rc = rc ? rc : bl_json_load(&c->index, path, err);
    rc = rc ? rc : bl_join_path(path, folder, "scheduler/scheduler_config.json", err);
    rc = rc ? rc : bl_json_load(&c->scheduler, path, err);
    rc = rc ? rc : bl_join_path(path, folder, "unet", err);
    rc = rc ? rc : open_weights(c, &c->modules[BL_UNET], path, err);
    rc = rc ? rc : bl_join_path(path, folder, "transformer", err);
    rc = rc ? rc : open_weights(c, &c->modules[BL_TRANSFORMER], path, err);
    if (rc) {
        return rc;
    }
    const bool transformer = c->modules[BL_TRANSFORMER].present;
    if (!c->index && !c->modules[BL_UNET].present && !transformer) {
        return bl_fail(
            err, BL_E_NOT_FOUND,
            "folder %.400s holds no diffusers model: neither model_index.json nor weights in unet/ or "
            "transformer/; to use a single file, give the file's own path",
            folder);
    }
    bl_module_files *denoiser = &c->modules[transformer ? BL_TRANSFORMER : BL_UNET];
    rc = bl_join_path(path, folder, transformer ? "transformer/config.json" : "unet/config.json", err);
    rc = rc ? rc : bl_json_load(&denoiser->config, path, err);
    rc = rc ? rc : bl_join_path(path, folder, "text_encoder", err);
    rc = rc ? rc : bl_open_text_encoder_folder(c, &c->modules[BL_TEXT_ENCODER], path, err);
    rc = rc ? rc : bl_join_path(path, folder, "text_encoder_2", err);
    rc = rc ? rc : bl_open_text_encoder_folder(c, &c->modules[BL_TEXT_ENCODER_2], path, err);
    if (transformer && !rc) { /* of a third none is made where there is a UNet */
        rc = bl_join_path(path, folder, "text_encoder_3", err);
        rc = rc ? rc : bl_open_text_encoder_folder(c, &c->modules[BL_TEXT_ENCODER_3], path, err);
    }
    rc = rc ? rc : bl_join_path(path, folder, "tokenizer", err);
    rc = rc ? rc : bl_open_tokenizer(&c->tokenizers[0], path, !transformer, err);
    rc = rc ? rc : bl_join_path(path, folder, "tokenizer_2", err);
    rc = rc ? rc : bl_open_tokenizer(&c->tokenizers[1], path, !transformer, err);
    rc = rc ? rc : bl_join_path(path, folder, "vae", err);
    return rc ? rc : open_vae_files(c, path, &found, err);
}
