"""What zig's runtime lacks: which level of x86-64 the processor has.

A function with ``target_clones`` asks the compiler's runtime for the processor's level. In libgcc and compiler-rt, that
is `__cpu_indicator_init`. In zig, it is a stub (lib/compiler_rt/fmv.zig of 0.17): the loops would always be those of
the lowest level, a third as fast for Adam with AVX-512. So a library that zig compiles for Linux on x86-64 gets this.
"""

import platform
import sys

NAME = "cpu_levels.c"
SOURCE = """\
#include <cpuid.h>

/* Of LLVM's runtime: bits 96, 97 and 98 of the features are levels 2, 3 and 4. They begin in __cpu_model. */
struct {
    unsigned vendor, type, subtype, features;
} __cpu_model;
unsigned __cpu_features2[4];

/* Called before relocation, so it calls nothing. */
int __cpu_indicator_init(void)
{
    const unsigned v2_ecx = bit_SSE3 | bit_SSSE3 | bit_CMPXCHG16B | bit_SSE41 | bit_SSE42 | bit_POPCNT;
    const unsigned v3_ecx = bit_AVX | bit_F16C | bit_FMA | bit_MOVBE | bit_OSXSAVE;
    const unsigned v3_ebx = bit_BMI | bit_AVX2 | bit_BMI2;
    const unsigned v4_ebx = bit_AVX512F | bit_AVX512DQ | bit_AVX512CD | bit_AVX512BW | bit_AVX512VL;
    unsigned eax, ebx = 0, ecx, edx, ecx_1, ecx_extended, saved = 0;
    __cpuid(0, eax, ebx, ecx, edx);
    const unsigned leaves = eax;
    __cpuid(1, eax, ebx, ecx_1, edx);
    __cpuid(0x80000001, eax, ebx, ecx_extended, edx);
    ebx = 0;
    if (leaves >= 7)
        __cpuid_count(7, 0, eax, ebx, ecx, edx);
    if (ecx_1 & bit_OSXSAVE) { /* which registers the system saves */
        unsigned high;
        __asm__("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
        (void)high;
    }
    const int v2 = (ecx_1 & v2_ecx) == v2_ecx && (ecx_extended & bit_LAHF_LM);
    const int v3 = v2 && (ecx_1 & v3_ecx) == v3_ecx && (ebx & v3_ebx) == v3_ebx && (ecx_extended & bit_LZCNT)
        && (saved & 0x6) == 0x6;
    const int v4 = v3 && (ebx & v4_ebx) == v4_ebx && (saved & 0xe6) == 0xe6;
    __cpu_features2[2] = (v2 ? 1u : 0u) | (v3 ? 2u : 0u) | (v4 ? 4u : 0u);
    return 0;
}
"""


def is_needed(target: str | None) -> bool:
    """Return whether a library for that target has levels; None is this system."""
    if target is None:
        return sys.platform == "linux" and platform.machine() == "x86_64"
    return target == "x86_64-linux"
