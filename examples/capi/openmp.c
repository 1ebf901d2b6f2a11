/*
 * AdamW over one large array with OpenMP: each thread updates its own range, and the bits are those of one thread.
 *
 *     pyfastlr build-capi -o lib
 *     cc -O2 -fopenmp -Ilib examples/capi/openmp.c -Llib -lfastlr -Wl,-rpath,lib -o openmp
 *     ./openmp
 */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fastlr.h"

enum {
    LINE = 16,    /* floats in a cache line: no two threads write to the same one */
    SMALL = 32768 /* fewer elements take less time than starting the threads */
};

struct adamw {
    fastlr_adamw_config config;
    size_t size;
    float *p, *g, *exp_avg, *exp_avg_sq;
};

/* Return the first error of any thread. Errors write nothing, and all threads get the same one. */
static int step(const struct adamw *opt, int64_t t, int threads)
{
    int error = FASTLR_OK;
#pragma omp parallel num_threads(threads) reduction(max : error) if (opt->size > SMALL)
    {
        const size_t k = (size_t)omp_get_thread_num(), count = (size_t)omp_get_num_threads();
        const size_t length = (opt->size / count + LINE) / LINE * LINE;
        const size_t begin = k * length < opt->size ? k * length : opt->size;
        const size_t end = opt->size - begin < length ? opt->size : begin + length;
        error = fastlr_adamw_step(&opt->config, t, opt->p, opt->g, opt->exp_avg, opt->exp_avg_sq, begin, end);
    }
    return error;
}

/* Make `updates` updates on this many threads. The parameters are the caller's to free; NULL is an error. */
static float *train(size_t size, int updates, int threads, double *seconds)
{
    struct adamw opt = {.size = size};
    float *memory = calloc(3 * size, sizeof(float)); /* the gradient, and both states at zero */
    opt.p = malloc(size * sizeof(float));
    int error = fastlr_adamw_config_init(&opt.config);
    if (memory == NULL || opt.p == NULL || error != FASTLR_OK) {
        free(memory);
        free(opt.p);
        return NULL;
    }
    opt.g = memory;
    opt.exp_avg = memory + size;
    opt.exp_avg_sq = memory + 2 * size;
    for (size_t i = 0; i < size; i++)
        opt.p[i] = (float)(i % 1000) / 1000.0f;

    *seconds = 0.0;
    for (int64_t t = 1; t <= updates && error == FASTLR_OK; t++) {
        for (size_t i = 0; i < size; i++)
            opt.g[i] = opt.p[i] - 0.5f; /* of the loss (p - 0.5)^2 / 2 */
        const double start = omp_get_wtime();
        error = step(&opt, t, threads);
        *seconds += omp_get_wtime() - start;
    }
    if (error != FASTLR_OK) {
        fprintf(stderr, "%s\n", fastlr_error_text(error));
        free(opt.p);
        opt.p = NULL;
    }
    free(memory);
    return opt.p;
}

int main(int argc, char **argv)
{
    const size_t size = argc > 1 ? (size_t)strtoull(argv[1], NULL, 10) : 4000003;
    const int updates = 10, threads = omp_get_max_threads();
    double alone, together;
    float *one = train(size, updates, 1, &alone), *many = train(size, updates, threads, &together);
    int same = 0;
    if (one != NULL && many != NULL) {
        same = memcmp(one, many, size * sizeof(float)) == 0;
        printf("%zu elements: 1 thread %.2f ms, %d threads %.2f ms a step\n", size, 1e3 * alone / updates, threads,
               1e3 * together / updates);
        printf("%s bits (expected: the same)\n", same ? "the same" : "OTHER");
    }
    free(one);
    free(many);
    return same ? 0 : 1;
}
