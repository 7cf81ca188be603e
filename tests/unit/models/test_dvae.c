/*
 * The dVAE against the golden vectors, and its gradients against finite differences.
 */
#include "models/dvae.h"
#include "tests/unit/models/model_checks.h"

#include <unistd.h>

#define SCRATCH_FILE "dvae_test.safetensors"

static char *scratch_path(void)
{
    return xasprintf("/tmp/%d." SCRATCH_FILE, (int)getpid());
}

static const struct dvae_config golden_config = {.hidden = 12, .init = 12, .groups = 4, .blocks = 2, .vocab = 64};
enum { GOLDEN_N = 2, GOLDEN_SIDE = 40, GOLDEN_CELLS = 25, GOLDEN_PIXELS = 1600, GOLDEN_VOCAB = 64 };

/* The golden pictures, NHWC, 0 .. 255. */
static uint8_t *golden_pictures(const struct weights *w)
{
    size_t n;
    float *f = vector_floats(w, "in.pixels", &n);
    uint8_t *u = xmalloc(n);
    channels_last(f, GOLDEN_N, 3, GOLDEN_PIXELS);
    for (size_t i = 0; i < n; i++)
        u[i] = (uint8_t)f[i];
    free(f);
    return u;
}

static float *mapped(const uint8_t *pictures, size_t n)
{
    float *x = xmalloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = pictures[i];
    dvae_map_pixels(x, n);
    return x;
}

static void golden_training(const struct kernels *k)
{
    struct weights *w = vectors_open("dvae.safetensors");
    struct dvae *d;
    assert_int_equal(dvae_new(&d, k, &golden_config, GOLDEN_SIDE, GOLDEN_N, true), 0);
    assert_int_equal(params_load(dvae_params(d), w, "w."), 0);
    uint8_t *pictures = golden_pictures(w);
    float *x = mapped(pictures, (size_t)GOLDEN_N * GOLDEN_PIXELS * 3), *noise = vector_floats(w, "in.gumbel", NULL);
    channels_last(noise, GOLDEN_N, GOLDEN_VOCAB, GOLDEN_CELLS);
    struct dvae_step step = {.tau = 0.7f, .beta = 3.3f, .noise = noise};
    struct dvae_losses got;
    int32_t codes[GOLDEN_N * GOLDEN_CELLS], *want_codes = vector_ints(w, "out.codes");
    dvae_train(d, x, GOLDEN_N, &step, 1, &got, codes);

    const char *const names[] = {"out.loss", "out.nll", "out.kl"};
    const float values[] = {got.loss, got.nll, got.kl};
    for (int i = 0; i < 3; i++) {
        float *want = vector_floats(w, names[i], NULL);
        check_close(names[i], &values[i], want, 1, LOSS_TOLERANCE);
        free(want);
    }
    assert_memory_equal(codes, want_codes, sizeof codes);
    check_gradients(dvae_params(d), w);
    free(want_codes);
    free(noise);
    free(x);
    free(pictures);
    dvae_free(&d);
    weights_free(&w);
}
EACH_TABLE(golden_training)

/* Logits, codes, statistics and pictures of a dVAE against the golden ones, at most `tolerance` of the largest off. */
static void check_inference(struct dvae *d, const struct kernels *k, double tolerance)
{
    struct weights *w = vectors_open("dvae.safetensors");
    uint8_t *pictures = golden_pictures(w), decoded[GOLDEN_N * GOLDEN_PIXELS * 3];
    size_t values = (size_t)GOLDEN_N * GOLDEN_PIXELS * 3, weights = (size_t)GOLDEN_N * GOLDEN_CELLS * GOLDEN_VOCAB;
    float *x = mapped(pictures, values), *want = vector_floats(w, "out.logits", NULL);
    channels_last(want, GOLDEN_N, GOLDEN_VOCAB, GOLDEN_CELLS);
    struct tensor device = k->alloc(values, F32);
    k->upload(device, x, values);
    float *got = downloaded(k, dvae_logits(d, device, GOLDEN_N), weights);
    check_close("logits", got, want, weights, tolerance);
    k->free(device);
    free(got);
    free(want);

    int32_t codes[GOLDEN_N * GOLDEN_CELLS], *want_codes = vector_ints(w, "out.codes");
    dvae_encode(d, pictures, GOLDEN_N, codes);
    assert_memory_equal(codes, want_codes, sizeof codes);
    if (dvae_config(d)->init > 0) {
        want = vector_floats(w, "out.image", NULL);
        channels_last(want, GOLDEN_N, 3, GOLDEN_PIXELS);
        dvae_decode(d, codes, GOLDEN_N, decoded);
        for (size_t i = 0; i < values; i++)
            assert_true(fabs(decoded[i] - 255.0 * want[i]) <= 0.51);
        free(want);
    }
    free(want_codes);
    free(x);
    free(pictures);
    weights_free(&w);
}

static void golden_containers(const struct kernels *k)
{
    static const struct {
        const char *encoder, *decoder;
        double tolerance; /* of the logits */
    } files[] = {
        {VECTORS "encoder.pkl", VECTORS "decoder.pkl", LOSS_TOLERANCE},
        {VECTORS "encoder_legacy.pkl", VECTORS "decoder_legacy.pkl", LOSS_TOLERANCE},
        {VECTORS "encoder_state_dict_fp16.pt", NULL, HALF_TOLERANCE},
    };
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct dvae *d;
        if (dvae_open(&d, k, files[i].encoder, files[i].decoder, GOLDEN_SIDE, GOLDEN_N) != 0)
            fail_msg("%s", err_text());
        assert_int_equal(dvae_config(d)->groups, 4);
        assert_int_equal(dvae_config(d)->blocks, 2);
        assert_int_equal(dvae_config(d)->vocab, 64);
        assert_int_equal(dvae_config(d)->init, files[i].decoder ? 12 : 0);
        check_inference(d, k, files[i].tolerance);
        dvae_free(&d);
    }
}
EACH_TABLE(golden_containers)

/* A tiny dVAE of odd sizes, with pictures drawn at random. */
struct tiny {
    struct dvae *d;
    float *x;
    int n;
    struct dvae_step step;
};

static void tiny_new(struct tiny *t, const struct kernels *k, const struct dvae_config *c, int side, int n)
{
    size_t values = (size_t)n * (size_t)side * (size_t)side * 3;
    *t = (struct tiny){.n = n, .x = xmalloc(values * sizeof *t->x)};
    t->step = (struct dvae_step){.tau = 0.8f, .beta = 2, .entropy = 0.7f, .key = 5, .hi = 6};
    assert_int_equal(dvae_new(&t->d, k, c, side, n + 1, true), 0);
    params_init(dvae_params(t->d), 7);
    for (size_t i = 0; i < values; i++)
        t->x[i] = 255 * random_uniform(8, 0, i);
    dvae_map_pixels(t->x, values);
}

static void tiny_free(struct tiny *t)
{
    free(t->x);
    dvae_free(&t->d);
}

static double tiny_loss(void *arg)
{
    struct tiny *t = arg;
    struct dvae_losses l;
    dvae_train(t->d, t->x, t->n, &t->step, 1, &l, NULL);
    return l.loss;
}

static void slopes(const struct kernels *k)
{
    static const struct {
        struct dvae_config c;
        int side;
    } cases[] = {{{.hidden = 12, .init = 7, .groups = 3, .blocks = 1, .vocab = 11}, 12},
                 {{.hidden = 20, .init = 9, .groups = 1, .blocks = 1, .vocab = 5}, 5},
                 {{.hidden = 8, .init = 16, .groups = 2, .blocks = 2, .vocab = 3}, 6}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tiny t;
        tiny_new(&t, k, &cases[i].c, cases[i].side, 2);
        struct params *p = dvae_params(t.d);
        /* Biases of zero would leave ReLUs that see nothing exactly at their bend. */
        float *values = downloaded(k, p->values, p->total);
        for (size_t j = 0; j < p->total; j++)
            values[j] = 1.3f * values[j] + 0.1f * (random_uniform(3, i, j) - 0.5f);
        k->upload(p->values, values, p->total);
        free(values);
        tiny_loss(&t);
        check_slopes(p, tiny_loss, &t, 0.005f, 0.03);
        tiny_free(&t);
    }
}
EACH_TABLE(slopes)

static void gradients_add_up(const struct kernels *k)
{
    struct tiny t;
    struct dvae_losses l;
    static const struct dvae_config c = {.hidden = 8, .init = 8, .groups = 2, .blocks = 1, .vocab = 9};
    tiny_new(&t, k, &c, 8, 3);
    struct params *p = dvae_params(t.d);
    dvae_train(t.d, t.x, t.n, &t.step, 1, &l, NULL);
    float *once = downloaded(k, p->grads, p->total);
    k->fill(p->grads, 0, p->total);
    for (int i = 0; i < 4; i++)
        dvae_train(t.d, t.x, t.n, &t.step, 0.25f, &l, NULL);
    float *four = downloaded(k, p->grads, p->total);
    check_close("four quarters of a gradient", four, once, p->total, 1e-5);
    free(once);
    free(four);
    tiny_free(&t);
}
EACH_TABLE(gradients_add_up)

/* An opened instance of widths that inference has methods of its own for: near the trained instance's logits, and bits
 * that depend on neither the batch nor the threads. */
static void wide_inference(const struct kernels *k)
{
    enum { N = 3, SIDE = 20, CELLS = 100, VOCAB = 50, VALUES = SIDE * SIDE * 3, LOGITS = CELLS * VOCAB };
    static const struct dvae_config c = {.hidden = 128, .init = 16, .groups = 2, .blocks = 2, .vocab = VOCAB};
    struct tiny t;
    struct dvae *d;
    char *path = scratch_path();
    uint8_t pictures[N * VALUES];
    int32_t trained[N * CELLS], together[N * CELLS], alone[CELLS];
    tiny_new(&t, k, &c, SIDE, N);
    assert_int_equal(dvae_save(t.d, dvae_params(t.d)->values, path), 0);
    assert_int_equal(dvae_open(&d, k, path, NULL, 0, N), 0);
    for (int i = 0; i < N * VALUES; i++)
        pictures[i] = (uint8_t)(random_philox(3, 4, (uint64_t)i).v[0] & 255);
    dvae_encode(t.d, pictures, N, trained);
    dvae_encode(d, pictures, N, together);
    assert_memory_equal(together, trained, sizeof trained);

    struct tensor x = k->alloc(N * VALUES, F32);
    k->upload(x, t.x, N * VALUES);
    float *reference = downloaded(k, dvae_logits(t.d, x, N), N * LOGITS);
    float *logits = downloaded(k, dvae_logits(d, x, N), N * LOGITS), largest = 0;
    for (int i = 0; i < N * LOGITS; i++)
        largest = fmaxf(largest, fabsf(reference[i]));
    for (int i = 0; i < N * LOGITS; i++)
        if (!(fabsf(logits[i] - reference[i]) <= 1e-5f * largest))
            fail_msg("logit %d is %g, in training %g", i, logits[i], reference[i]);
    for (int i = 0; i < N; i++) {
        kernels_set_threads(1 + i);
        dvae_encode(d, pictures + i * VALUES, 1, alone);
        assert_memory_equal(alone, together + i * CELLS, sizeof alone);
        float *one = downloaded(k, dvae_logits(d, tensor_at(x, (size_t)i * VALUES), 1), LOGITS);
        assert_memory_equal(one, logits + (size_t)i * LOGITS, LOGITS * sizeof *one);
        free(one);
    }
    kernels_set_threads(1);
    k->free(x);
    free(reference);
    free(logits);
    dvae_free(&d);
    tiny_free(&t);
    unlink(path);
    free(path);
}
EACH_TABLE(wide_inference)

static void save_and_open(const struct kernels *k)
{
    struct tiny t;
    struct dvae *d;
    static const struct dvae_config c = {.hidden = 8, .init = 12, .groups = 3, .blocks = 2, .vocab = 10};
    char *path = scratch_path();
    tiny_new(&t, k, &c, 20, 2);
    struct params *p = dvae_params(t.d);
    assert_int_equal(dvae_save(t.d, p->values, path), 0);
    if (dvae_open(&d, k, path, NULL, 0, 2) != 0)
        fail_msg("%s", err_text());
    assert_int_equal(dvae_side(d), 20);
    assert_int_equal(dvae_grid(d), 5);
    assert_memory_equal(dvae_config(d), &c, sizeof c);
    float *before = downloaded(k, p->values, p->total), *after = downloaded(k, dvae_params(d)->values, p->total);
    assert_memory_equal(before, after, p->total * sizeof *before);

    /* Trained and opened instances, any place in any batch: the same codes and the same pictures. */
    enum { N = 2, VALUES = 20 * 20 * 3 };
    uint8_t pictures[N * VALUES], all[N * VALUES], one[VALUES];
    int32_t codes[N * 25], code[25];
    for (int i = 0; i < N * VALUES; i++)
        pictures[i] = (uint8_t)(random_philox(1, 2, (uint64_t)i).v[0] & 255);
    dvae_encode(t.d, pictures, N, codes);
    dvae_decode(t.d, codes, N, all);
    for (int i = 0; i < N; i++) {
        dvae_encode(d, pictures + (size_t)i * VALUES, 1, code);
        assert_memory_equal(code, codes + (size_t)i * 25, sizeof code);
        dvae_decode(d, code, 1, one);
        assert_memory_equal(one, all + (size_t)i * VALUES, sizeof one);
    }
    free(before);
    free(after);
    dvae_free(&d);
    tiny_free(&t);
    unlink(path);
    free(path);
}
EACH_TABLE(save_and_open)

static int codes_in_use(struct dvae *d, const float *x, int n, int cells)
{
    struct dvae_losses l;
    struct dvae_step step = {.tau = 1};
    int used = 0, vocab = dvae_config(d)->vocab;
    int32_t *codes = xmalloc((size_t)(n * cells) * sizeof *codes);
    bool *seen = xcalloc((size_t)vocab, sizeof *seen);
    dvae_train(d, x, n, &step, 1, &l, codes);
    for (int i = 0; i < n * cells; i++)
        seen[codes[i]] = true;
    for (int v = 0; v < vocab; v++)
        used += seen[v];
    free(seen);
    free(codes);
    return used;
}

static void kmeans(const struct kernels *k)
{
    struct tiny t;
    static const struct dvae_config c = {.hidden = 8, .init = 16, .groups = 2, .blocks = 1, .vocab = 64};
    tiny_new(&t, k, &c, 8, 16);
    /* Flat pictures, which many seeds fall into: those clusters become empty and must find other work. */
    for (size_t i = 0; i < (size_t)10 * 8 * 8 * 3; i++)
        t.x[i] = 0.5f;
    int before = codes_in_use(t.d, t.x, t.n, 16);
    assert_int_equal(dvae_init_kmeans(t.d, t.x, t.n, 0.1f, 8, 3), 0);
    int after = codes_in_use(t.d, t.x, t.n, 16);
    assert_true(after >= 60 && after > before);

    struct params *p = dvae_params(t.d);
    float *first = downloaded(k, p->values, p->total);
    params_init(p, 7);
    assert_int_equal(dvae_init_kmeans(t.d, t.x, t.n, 0.1f, 8, 3), 0);
    float *second = downloaded(k, p->values, p->total);
    assert_memory_equal(first, second, p->total * sizeof *first);
    free(first);
    free(second);
    assert_int_equal(dvae_init_kmeans(t.d, t.x, 3, 0.1f, 8, 3), -1);
    assert_non_null(strstr(err_text(), "3 pictures"));
    tiny_free(&t);
}
EACH_TABLE(kmeans)

static void refusals(void **state)
{
    (void)state;
    const struct kernels *k = kernels_plain();
    struct dvae *d;
    struct dvae_config c = golden_config;
    assert_int_equal(dvae_new(&d, k, &c, 36, 1, false), -1);
    assert_non_null(strstr(err_text(), "multiple of 8"));
    c.groups = 9;
    assert_int_equal(dvae_new(&d, k, &c, 256, 1, false), -1);
    assert_non_null(strstr(err_text(), "groups"));
    assert_int_equal(dvae_open(&d, k, VECTORS "decoder.pkl", NULL, 40, 1), -1);
    assert_non_null(strstr(err_text(), "no dVAE encoder"));
    assert_int_equal(dvae_open(&d, k, VECTORS "encoder.pkl", VECTORS "encoder.pkl", 40, 1), -1);
    assert_non_null(strstr(err_text(), "no dVAE decoder"));
    assert_int_equal(dvae_open(&d, k, VECTORS "clip.safetensors", NULL, 40, 1), -1);
    assert_non_null(strstr(err_text(), "not a dVAE"));
    assert_int_equal(dvae_open(&d, k, "/nonexistent", NULL, 40, 1), -1);
    assert_null(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT_EACH_TABLE(golden_training),  UNIT_EACH_TABLE(golden_containers), UNIT_EACH_TABLE(slopes),
        UNIT_EACH_TABLE(gradients_add_up), UNIT_EACH_TABLE(save_and_open),     UNIT_EACH_TABLE(wide_inference),
        UNIT_EACH_TABLE(kmeans),           cmocka_unit_test(refusals),
    };
    kernels_set_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
