#include "text/qwen_vocabulary.h"

__asm__(".pushsection .rodata\n"
        ".globl bl_qwen_vocabulary\n"
        ".hidden bl_qwen_vocabulary\n"
        "bl_qwen_vocabulary:\n"
        ".incbin \"" BALLAST_QWEN_VOCABULARY "\"\n"
        ".globl bl_qwen_vocabulary_end\n"
        ".hidden bl_qwen_vocabulary_end\n"
        "bl_qwen_vocabulary_end:\n"
        ".popsection\n");
