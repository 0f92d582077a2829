/* Tags in a prompt that ask for an adapter, as A1111's extra networks: <lora:NAME:WEIGHT>, <lyco:...>,
 * <hypernet:...>. They are no words to draw. */
#ifndef BALLAST_TEXT_ADAPTER_TAGS_H
#define BALLAST_TEXT_ADAPTER_TAGS_H

#include <stddef.h>

/* The first tag of the text and its *length in bytes; NULL: there is none. */
const char *bl_adapter_tag(const char *text, size_t *length);

/* The text without its tags, freed with free(); NULL: no memory. */
char *bl_without_adapter_tags(const char *text);

#endif
