/* Tags in a prompt that ask for an adapter, as A1111's extra networks: <lora:NAME:TE:UNET>, <lyco:...>, which
 * is the same; <hypernet:...> and all other <WORD:...> are not read. They are no words to draw. */
#ifndef BALLAST_TEXT_ADAPTER_TAGS_H
#define BALLAST_TEXT_ADAPTER_TAGS_H

#include "core/error.h"

#include <stdbool.h>
#include <stddef.h>

#define BL_ADAPTER_NAME 256

/* The first tag of the text and its *length in bytes; NULL: there is none. */
const char *bl_adapter_tag(const char *text, size_t *length);

/* The text without its tags, freed with free(); NULL: no memory. */
char *bl_without_adapter_tags(const char *text);

/* What a tag asks for. */
typedef struct bl_adapter_call {
    bool lora; /* else it is of a kind that is not read */
    char name[BL_ADAPTER_NAME];
    double text, denoiser; /* strengths; without one 1, with one that for both */
} bl_adapter_call;

/* Reads the tag of `length` bytes. BL_E_ARGUMENT: a strength is no number, or there are words that mean
 * nothing. */
int bl_adapter_tag_read(bl_adapter_call *out, const char *tag, size_t length, bl_error *err);

#endif
