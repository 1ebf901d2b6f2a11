/*
 * Train a small network in C: AdamW with warm-up, cosine annealing and a clipped gradient.
 *
 *     pyfastlr build-capi -o lib
 *     cc -O2 -Ilib examples/capi/train.c -Llib -lfastlr -lm -Wl,-rpath,lib -o train
 *     ./train
 *
 * The network has one hidden layer of tanh units and learns y = sin(3 x). All its weights are one flat array.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "fastlr.h"

enum {
    POINTS = 128,
    HIDDEN = 32,
    SIZE = 3 * HIDDEN + 1, /* weights in, biases, weights out, bias out */
    WARMUP = 50
};

static int64_t updates = 2000;

/* The rate of update n, from 0: what warm-up is put in front of. */
static double anneal(const void *data, int64_t n)
{
    return fastlr_schedule_cosine(n, *(const double *)data, (double)(updates - WARMUP), 0.0);
}

/* Mean squared error over all points, and its gradient. */
static double loss_and_gradient(const float *p, float *g)
{
    const float *in = p, *bias = p + HIDDEN, *out = p + 2 * HIDDEN;
    double loss = 0.0;
    for (int i = 0; i < SIZE; i++)
        g[i] = 0.0f;
    for (int k = 0; k < POINTS; k++) {
        const float x = 2.0f * (float)k / (POINTS - 1) - 1.0f;
        float unit[HIDDEN], y = p[SIZE - 1];
        for (int j = 0; j < HIDDEN; j++) {
            unit[j] = tanhf(in[j] * x + bias[j]);
            y += out[j] * unit[j];
        }
        const float error = y - sinf(3.0f * x), d = 2.0f * error / POINTS;
        loss += (double)(error * error) / POINTS;
        for (int j = 0; j < HIDDEN; j++) {
            const float back = d * out[j] * (1.0f - unit[j] * unit[j]);
            g[j] += back * x;
            g[HIDDEN + j] += back;
            g[2 * HIDDEN + j] += d * unit[j];
        }
        g[SIZE - 1] += d;
    }
    return loss;
}

static void check(int error)
{
    if (error != FASTLR_OK) {
        fprintf(stderr, "%s\n", fastlr_error_text(error));
        exit(1);
    }
}

int main(int argc, char **argv)
{
    static float p[SIZE], g[SIZE], exp_avg[SIZE], exp_avg_sq[SIZE]; /* states that begin at zero need no more */
    const double lr = 0.02;
    const fastlr_schedule annealing = {anneal, &lr};
    if (argc > 1)
        updates = strtoll(argv[1], NULL, 10);
    for (int j = 0; j < HIDDEN; j++) {
        p[j] = (j % 2 ? 2.0f : -2.0f) * (float)(j + 1) / HIDDEN;
        p[HIDDEN + j] = (float)(j % 5 - 2) / 2.0f;
    }

    fastlr_adamw_config config;
    check(fastlr_adamw_config_init(&config));
    config.weight_decay = 0.0;
    const fastlr_tensor gradient = {.size = SIZE, .g = g}; /* one of possibly many arrays */
    int64_t clipped = 0;
    for (int64_t t = 1; t <= updates; t++) {
        double norm;
        loss_and_gradient(p, g);
        check(fastlr_global_norm(&gradient, 1, 1.0, &norm));
        check(fastlr_clip_factor(config.convention, norm, 0.5, &config.clip_factor));
        clipped += norm > 0.5;
        config.lr = fastlr_schedule_warmup(t - 1, annealing, WARMUP, 0.0);
        check(fastlr_adamw_step(&config, t, p, g, exp_avg, exp_avg_sq, 0, SIZE));
    }
    const double loss = loss_and_gradient(p, g);
    printf("%lld of %lld gradients were clipped\n", (long long)clipped, (long long)updates);
    printf("mean squared error %.1e (expected: at most 1e-05)\n", loss);
    return loss <= 1e-5 ? 0 : 1;
}
