#include "text/merges.h"

/* .incbin rather than an array in C: half a megabyte of initialisers takes a compiler seconds. */
__asm__(".pushsection .rodata\n"
        ".globl bl_clip_merges\n"
        ".hidden bl_clip_merges\n"
        "bl_clip_merges:\n"
        ".incbin \"" BALLAST_CLIP_MERGES "\"\n"
        ".globl bl_clip_merges_end\n"
        ".hidden bl_clip_merges_end\n"
        "bl_clip_merges_end:\n"
        ".popsection\n");
