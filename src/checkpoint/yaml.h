/* The YAML that lies beside some single files: the configuration of the program that trained them. */
#ifndef BALLAST_CHECKPOINT_YAML_H
#define BALLAST_CHECKPOINT_YAML_H

#include <stdbool.h>
#include <stddef.h>

/* Finds the scalar at a path of keys, "model.params.linear_start", and copies it to `out`, cut to fit. Read
 * are mappings and sequences in block style, as such files are written; an item of a sequence stands below
 * "-", and of several at one path the last counts. What is not understood (flow style, anchors, text of
 * several lines) is passed over. False if there is none, or an empty one. */
bool bl_yaml_find(char *out, size_t room, const char *text, size_t n, const char *path);

#endif
