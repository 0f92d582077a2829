#include "image/parameters.h"

#include "core/decimal.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bl_parameters_clear(bl_parameters *parameters) {
    free(parameters->storage);
    *parameters = (bl_parameters){0};
}

/* ", " before every entry but the first. */
static void put_key(FILE *f, bool *first, const char *key) {
    fprintf(f, "%s%s: ", *first ? "" : ", ", key);
    *first = false;
}

/* A1111's quoting: as a JSON string if the text could be taken for syntax. */
static void put_text(FILE *f, bool *first, const char *key, const char *text) {
    if (!text || !*text) {
        return;
    }
    put_key(f, first, key);
    if (!strpbrk(text, ",\n:")) {
        fputs(text, f);
        return;
    }
    fputc('"', f);
    for (const char *p = text; *p; p++) {
        static const char special[] = "\"\\\n\r\t\b\f", letters[] = "\"\\nrtbf";
        const char *found = strchr(special, *p);
        if (found) {
            fprintf(f, "\\%c", letters[found - special]);
        } else if ((unsigned char)*p < 0x20) {
            fprintf(f, "\\u%04x", (unsigned)(unsigned char)*p);
        } else {
            fputc(*p, f);
        }
    }
    fputc('"', f);
}

static void put_integer(FILE *f, bool *first, const char *key, int64_t value) {
    if (value) {
        put_key(f, first, key);
        fprintf(f, "%lld", (long long)value);
    }
}

static void put_number(FILE *f, bool *first, const char *key, double value) {
    char text[BL_DECIMAL_TEXT];
    if (value != 0.0) {
        bl_decimal_text(text, value);
        put_key(f, first, key);
        fputs(text, f);
    }
}

static void put_line(FILE *f, const bl_parameters *p) {
    bool first = true;
    put_integer(f, &first, "Steps", p->steps);
    put_text(f, &first, "Sampler", p->sampler);
    put_text(f, &first, "Schedule type", p->schedule);
    put_number(f, &first, "CFG scale", p->cfg);
    put_text(f, &first, "Distilled CFG Scale", p->guidance);
    put_key(f, &first, "Seed");
    fprintf(f, "%llu", (unsigned long long)p->seed);
    if (p->width && p->height) {
        put_key(f, &first, "Size");
        fprintf(f, "%lldx%lld", (long long)p->width, (long long)p->height);
    }
    put_text(f, &first, "Model hash", p->model_hash);
    put_text(f, &first, "Model", p->model);
    put_text(f, &first, "VAE", p->vae);
    put_text(f, &first, "VAE Decoder", p->decoder);
    if (p->variation_strength != 0.0) {
        put_key(f, &first, "Variation seed");
        fprintf(f, "%llu", (unsigned long long)p->variation_seed);
        put_number(f, &first, "Variation seed strength", p->variation_strength);
    }
    put_number(f, &first, "Denoising strength", p->denoising_strength);
    put_integer(f, &first, "Clip skip", p->clip_skip > 1 ? p->clip_skip : 0);
    put_text(f, &first, "Pad conds", p->pad_conds);
    put_integer(f, &first, "ENSD", p->ensd);
    put_text(f, &first, "RNG", p->rng);
    put_text(f, &first, "Noise Schedule", p->noise_schedule);
    put_number(f, &first, "Hires upscale", p->hires_upscale);
    put_integer(f, &first, "Hires steps", p->hires_steps);
    put_text(f, &first, "Hires upscaler", p->hires_upscaler);
    put_text(f, &first, "Lora hashes", p->lora_hashes);
    put_text(f, &first, "TI hashes", p->ti_hashes);
    put_text(f, &first, "Version", p->version);
}

static bool is_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

int bl_parameters_text(char **out, const bl_parameters *parameters, bl_error *err) {
    *out = NULL;
    const double numbers[] = {parameters->cfg, parameters->variation_strength, parameters->denoising_strength,
                              parameters->hires_upscale};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (!(fabs(numbers[i]) <= 1e12)) {
            return bl_fail(err, BL_E_ARGUMENT, "the parameters of a picture cannot hold the number %g",
                           numbers[i]);
        }
    }
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (!f) {
        return bl_fail_memory(err, "the picture's parameters", 0);
    }
    const char *prompt = parameters->prompt ? parameters->prompt : "";
    while (is_space(*prompt)) {
        prompt++;
    }
    fputs(prompt, f);
    if (parameters->negative && *parameters->negative) {
        fprintf(f, "%sNegative prompt: %s", *prompt ? "\n" : "", parameters->negative);
    }
    if (ftell(f) > 0) {
        fputc('\n', f);
    }
    put_line(f, parameters);
    bool failed = ferror(f) != 0;
    if (fclose(f) || failed) {
        free(text);
        return bl_fail_memory(err, "the picture's parameters", size);
    }
    *out = text;
    return BL_OK;
}
