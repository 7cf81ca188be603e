/*
 * The CUDA table's types: conversions on the way to the device and back, moments of 16 bits, stochastic rounding; and
 * what is replayed.
 */
#include "on_device.h"
#include "tests/unit/kernels/trial.h"

static const struct kernels *table;

static int open_table(void **state)
{
    (void)state;
    table = device_table(BF16);
    return table ? 0 : -1;
}

/* The nearest number of `bits` significant bits, the lowest a unit of 2^(least - bits) at least; ties to even. */
static float nearest(float x, int bits, int least, float most)
{
    int exponent;
    frexpf(x, &exponent);
    double unit = ldexp(1, (exponent > least ? exponent : least) - bits);
    return (float)fmax(fmin(nearbyint(x / unit) * unit, most), -most);
}

static float expected(enum dtype dtype, float x)
{
    switch (dtype) {
    case M16:
        return nearest(x, 10, -58, 16 - 0x1p-6f);
    case V16:
        return nearest(fabsf(x), 11, -58, 16 - 0x1p-7f);
    default:
        return trial_round(x, dtype);
    }
}

static void converts(void **state)
{
    (void)state;
    enum { COUNT = 4000 };
    static const enum dtype TYPES[] = {F32, BF16, F16, M16, V16};
    float given[COUNT], got[COUNT];
    for (int i = 0; i < 5; i++) {
        struct tensor x = table->alloc(COUNT, TYPES[i]);
        for (int j = 0; j < COUNT; j++) {
            float scale = ldexpf(1, -66 + (int)(72 * random_uniform(1, 1, j)));
            given[j] = j == 0 ? 0 : scale * (2 * random_uniform(1, 2, j) - (TYPES[i] == V16 ? 0 : 1));
        }
        table->upload(x, given, COUNT);
        table->download(got, x, COUNT);
        for (int j = 0; j < COUNT; j++)
            if (got[j] != expected(TYPES[i], given[j]))
                fail_msg("type %d: %.9g becomes %.9g, not %.9g", TYPES[i], given[j], got[j],
                         expected(TYPES[i], given[j]));
        table->free(x);
    }
}

/* More than the pinned buffers hold. */
static void moves_much(void **state)
{
    (void)state;
    enum { COUNT = 3300001 };
    static const enum dtype TYPES[] = {F32, BF16, I32};
    float *given = xmalloc(COUNT * sizeof *given), *got = xmalloc(COUNT * sizeof *got);
    for (int i = 0; i < COUNT; i++)
        given[i] = (float)(i % 251 - 100);
    for (int i = 0; i < 3; i++) {
        struct tensor x = table->alloc(COUNT, TYPES[i]);
        table->upload(x, given, COUNT);
        memset(got, 0, COUNT * sizeof *got);
        table->download(got, x, COUNT);
        assert_memory_equal(given, got, COUNT * sizeof *got);
        table->free(x);
    }
    free(given);
    free(got);
}

static void casts(void **state)
{
    (void)state;
    const float given[] = {1, -3.7f, INFINITY, -INFINITY, 1e30f, 60000, 0};
    enum { COUNT = sizeof given / sizeof *given };
    float got[COUNT];
    struct tensor x = table->alloc(COUNT, F32), y = table->alloc(COUNT, F16);
    table->upload(x, given, COUNT);
    table->cast(y, x, 2, COUNT);
    table->download(got, y, COUNT);
    const float twice[] = {2, trial_round(-7.4f, F16), INFINITY, -INFINITY, INFINITY, INFINITY, 0};
    assert_memory_equal(got, twice, sizeof got);
    table->free(x);
    table->free(y);
}

/* y + (x - y) / 1000 lies between two numbers of the type; over many draws the mean is right. */
static void rounds_stochastically(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    static const enum dtype TYPES[] = {BF16, F16};
    float *got = xmalloc(COUNT * sizeof *got), *again = xmalloc(COUNT * sizeof *again);
    for (int i = 0; i < 2; i++) {
        struct tensor x = table->alloc(COUNT, F32), y = table->alloc(COUNT, TYPES[i]);
        double unit = trial_unit(TYPES[i]), goal = -1 - 0.3 * unit;
        table->fill(x, (float)(-1 - 300 * unit), COUNT);
        for (uint64_t key = 5; key < 8; key++) {
            double sum = 0;
            table->fill(y, -1, COUNT);
            table->lerp(y, x, 0.999f, COUNT, key / 2);
            table->download(got, y, COUNT);
            for (int j = 0; j < COUNT; j++) {
                assert_true(got[j] == -1 || got[j] == (float)(-1 - unit));
                sum += got[j];
            }
            assert_true(fabs(sum / COUNT - goal) < 0.02 * unit); /* six deviations */
            if (key == 6)                                        /* 5 / 2 is 2, and 6 / 2 as 7 / 2 is 3 */
                assert_memory_not_equal(got, again, COUNT * sizeof *got);
            if (key == 7)
                assert_memory_equal(got, again, COUNT * sizeof *got);
            memcpy(again, got, COUNT * sizeof *got);
        }
        table->free(x);
        table->free(y);
    }
    free(got);
    free(again);
}

/* A step with moments of 16 bits beside one with moments of 32. */
static void takes_small_moments(void **state)
{
    (void)state;
    enum { COUNT = 1003 };
    static const struct adamw STEP = {1e-2f, 0.9f, 0.96f, 1e-8f, 0.1f, 0.5f, 0.7f, 3, 99};
    static const enum dtype TYPES[2][3] = {{F32, F32, F32}, {BF16, M16, V16}};
    float values[3][COUNT], got[2][3][COUNT], gradient[COUNT];
    for (int i = 0; i < COUNT; i++) {
        for (int j = 0; j < 3; j++)
            values[j][i] = expected(TYPES[1][j], 2 * random_uniform(3, j, i) - (j < 2));
        gradient[i] = trial_round(2 * random_uniform(3, 4, i) - 1, BF16);
    }
    for (int i = 0; i < 2; i++) {
        struct tensor x[3], g = table->alloc(COUNT, TYPES[i][0]);
        table->upload(g, gradient, COUNT);
        for (int j = 0; j < 3; j++) {
            x[j] = table->alloc(COUNT, TYPES[i][j]);
            table->upload(x[j], values[j], COUNT);
        }
        table->adamw(x[0], x[1], x[2], g, COUNT, &STEP);
        for (int j = 0; j < 3; j++) {
            table->download(got[i][j], x[j], COUNT);
            table->free(x[j]);
        }
        table->free(g);
    }
    for (int i = 0; i < COUNT; i++) {
        assert_true(fabsf(got[1][0][i] - got[0][0][i]) <= 0x1p-7f * fmaxf(fabsf(got[0][0][i]), 0x1p-5f));
        assert_true(got[1][1][i] == expected(M16, got[0][1][i]));
        assert_true(got[1][2][i] == expected(V16, got[0][2][i]));
    }
}

struct steps {
    struct tensor sum, more;
};

static void step(void *self)
{
    struct steps *s = self;
    table->axpy(s->sum, 1, s->more, 100);
    table->scale(s->more, 2, 100);
}

static void replays(void **state)
{
    (void)state;
    struct steps s = {table->alloc(100, F32), table->alloc(100, BF16)};
    struct recording *recording = NULL;
    float got[100];
    table->fill(s.sum, 0, 100);
    table->fill(s.more, 1, 100);
    for (int i = 0; i < 4; i++)
        table->replay(&recording, step, &s);
    table->download(got, s.sum, 100);
    for (int i = 0; i < 100; i++)
        assert_true(got[i] == 1 + 2 + 4 + 8);
    table->replay_free(recording);
    table->replay_free(NULL);
    table->free(s.sum);
    table->free(s.more);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(converts),
        cmocka_unit_test(moves_much),
        cmocka_unit_test(casts),
        cmocka_unit_test(rounds_stochastically),
        cmocka_unit_test(takes_small_moments),
        cmocka_unit_test(replays),
    };
    return cmocka_run_group_tests(tests, open_table, NULL);
}
