/*
 * CLIP against the golden vectors in every layout and container, and its gradients against finite differences.
 */
#include "models/clip.h"
#include "tests/unit/models/model_checks.h"

#include <unistd.h>

#define PHOTOS "../shared/golden/photos/"

enum { GOLDEN_PICTURES = 4, GOLDEN_TEXTS = 5, GOLDEN_SIDE = 48, GOLDEN_EMBED = 32 };

static float *golden_pictures(const struct weights *w)
{
    float *x = vector_floats(w, "in.image", NULL);
    channels_last(x, GOLDEN_PICTURES, 3, (size_t)GOLDEN_SIDE * GOLDEN_SIDE);
    return x;
}

/* Features and scores of a CLIP against those of a golden file. */
static void check_features(struct clip *c, const char *vectors, double tolerance)
{
    struct weights *w = vectors_open(vectors);
    const char *features = weights_meta(w, "features");
    bool normalised = features && strcmp(features, "normalised") == 0;
    float image[GOLDEN_PICTURES * GOLDEN_EMBED], text[GOLDEN_TEXTS * GOLDEN_EMBED];
    float *pictures = golden_pictures(w), *want_image = vector_floats(w, "out.image_features", NULL);
    float *want_text = vector_floats(w, "out.text_features", NULL),
          *want = vector_floats(w, "out.logits_per_image", NULL);
    int32_t *ids = vector_ints(w, "in.text");
    clip_image_features(c, pictures, GOLDEN_PICTURES, normalised, image);
    clip_text_features(c, ids, GOLDEN_TEXTS, normalised, text);
    check_close("image features", image, want_image, GOLDEN_PICTURES * GOLDEN_EMBED, tolerance);
    check_close("text features", text, want_text, GOLDEN_TEXTS * GOLDEN_EMBED, tolerance);

    float scores[GOLDEN_PICTURES * GOLDEN_TEXTS];
    clip_image_features(c, pictures, GOLDEN_PICTURES, true, image);
    clip_text_features(c, ids, GOLDEN_TEXTS, true, text);
    for (int i = 0; i < GOLDEN_PICTURES; i++) {
        for (int j = 0; j < GOLDEN_TEXTS; j++) {
            double dot = 0;
            for (int e = 0; e < GOLDEN_EMBED; e++)
                dot += image[i * GOLDEN_EMBED + e] * text[j * GOLDEN_EMBED + e];
            scores[i * GOLDEN_TEXTS + j] = (float)(dot * clip_logit_scale(c));
        }
    }
    check_close("scores", scores, want, GOLDEN_PICTURES * GOLDEN_TEXTS, tolerance);
    free(ids);
    free(want);
    free(want_text);
    free(want_image);
    free(pictures);
    weights_free(&w);
}

static void golden_layouts(const struct kernels *k)
{
    static const char *const files[] = {"clip.safetensors", "clip_hf.safetensors"};
    for (int i = 0; i < 2; i++) {
        struct weights *w = vectors_open(files[i]);
        struct clip *c;
        if (clip_open_weights(&c, k, w, "w.", 1, 1, GOLDEN_TEXTS) != 0)
            fail_msg("%s", err_text());
        assert_int_equal(clip_config(c)->side, GOLDEN_SIDE);
        check_features(c, files[i], LOSS_TOLERANCE);
        clip_free(&c);
        weights_free(&w);
    }
}
EACH_TABLE(golden_layouts)

static void golden_containers(const struct kernels *k)
{
    static const char *const files[] = {VECTORS "clip_torchscript.pt", VECTORS "clip_state_dict_fp16.pt"};
    for (int i = 0; i < 2; i++) {
        struct clip *c;
        if (clip_open(&c, k, files[i], GOLDEN_TEXTS) != 0)
            fail_msg("%s", err_text());
        check_features(c, "clip.safetensors", HALF_TOLERANCE);
        clip_free(&c);
    }
}
EACH_TABLE(golden_containers)

static void golden_training(const struct kernels *k)
{
    static const struct clip_config config = {.side = GOLDEN_SIDE,
                                              .patch = 16,
                                              .vision_width = 64,
                                              .vision_layers = 3,
                                              .vision_heads = 1,
                                              .context = 20,
                                              .vocab = 400,
                                              .text_width = 64,
                                              .text_layers = 2,
                                              .text_heads = 1,
                                              .embed = GOLDEN_EMBED};
    struct weights *w = vectors_open("clip_train.safetensors");
    struct clip *c;
    assert_int_equal(clip_new(&c, k, &config, GOLDEN_PICTURES + 1, true), 0);
    assert_int_equal(params_load(clip_params(c), w, "w."), 0);
    float *pictures = golden_pictures(w), *want = vector_floats(w, "out.loss", NULL);
    int32_t *ids = vector_ints(w, "in.text");
    float loss;
    assert_int_equal(clip_train(c, pictures, ids, GOLDEN_PICTURES, &loss, NULL), 0);
    check_close("loss", &loss, want, 1, LOSS_TOLERANCE);
    check_gradients(clip_params(c), w);
    free(ids);
    free(want);
    free(pictures);
    clip_free(&c);
    weights_free(&w);
}
EACH_TABLE(golden_training)

/* A tiny CLIP of odd sizes, with pairs drawn at random. */
static const struct clip_config tiny_config = {.side = 9,
                                               .patch = 3,
                                               .vision_width = 10,
                                               .vision_layers = 2,
                                               .vision_heads = 2,
                                               .context = 5,
                                               .vocab = 13,
                                               .text_width = 9,
                                               .text_layers = 1,
                                               .text_heads = 3,
                                               .embed = 7};
enum { TINY_N = 3, TINY_VALUES = 9 * 9 * 3 };
struct tiny {
    struct clip *c;
    float pictures[TINY_N * TINY_VALUES];
    int32_t text[TINY_N * 5];
};

static void tiny_new(struct tiny *t, const struct kernels *k)
{
    assert_int_equal(clip_new(&t->c, k, &tiny_config, TINY_N, true), 0);
    params_init(clip_params(t->c), 4);
    for (uint64_t i = 0; i < TINY_N * TINY_VALUES; i++)
        t->pictures[i] = 4 * random_uniform(5, 0, i) - 2;
    for (uint64_t i = 0; i < TINY_N * 5; i++)
        t->text[i] = i % 5 == 2 + i / 5 ? 12 : (int32_t)(random_philox(6, 0, i).v[0] % 12);
}

static double tiny_loss(void *arg)
{
    struct tiny *t = arg;
    float loss;
    assert_int_equal(clip_train(t->c, t->pictures, t->text, TINY_N, &loss, NULL), 0);
    return loss;
}

static void slopes(const struct kernels *k)
{
    struct tiny t;
    tiny_new(&t, k);
    /* A new model's scores hardly differ; larger weights make the loss depend on all of them. */
    struct params *p = clip_params(t.c);
    k->scale(p->values, 1.5f, p->total);
    tiny_loss(&t);
    check_slopes(p, tiny_loss, &t, 0.01f, 0.02);
    clip_free(&t.c);
}
EACH_TABLE(slopes)

static void initial_values(const struct kernels *k)
{
    struct tiny t;
    tiny_new(&t, k);
    assert_true(fabsf(clip_logit_scale(t.c) - 1 / 0.07f) < 1e-3f);
    const struct params *p = clip_params(t.c);
    for (int i = 0; i < p->count; i++) {
        const char *name = p->list[i].name;
        bool position = strstr(name, "positional") != NULL;
        assert_int_equal(p->list[i].decay, p->list[i].ndim >= 2 && !position);
    }
    clip_free(&t.c);
}
EACH_TABLE(initial_values)

static void save_and_open(const struct kernels *k)
{
    struct tiny t;
    struct clip *c;
    char *path = xasprintf("/tmp/%d.clip_test.safetensors", (int)getpid());
    float all[TINY_N * 7], one[7];
    tiny_new(&t, k);
    struct params *p = clip_params(t.c);
    assert_int_equal(clip_save(t.c, p->values, path), 0);
    if (clip_open(&c, k, path, 1) != 0)
        fail_msg("%s", err_text());
    assert_memory_equal(clip_config(c), &tiny_config, sizeof tiny_config);
    float *before = downloaded(k, p->values, p->total), *after = downloaded(k, clip_params(c)->values, p->total);
    assert_memory_equal(before, after, p->total * sizeof *before);

    /* Trained and opened instances, any place in any batch: the same features. */
    clip_image_features(t.c, t.pictures, TINY_N, true, all);
    for (size_t i = 0; i < TINY_N; i++) {
        clip_image_features(c, t.pictures + i * TINY_VALUES, 1, true, one);
        assert_memory_equal(one, all + i * 7, sizeof one);
    }
    clip_text_features(t.c, t.text, TINY_N, false, all);
    for (size_t i = 0; i < TINY_N; i++) {
        clip_text_features(c, t.text + i * 5, 1, false, one);
        assert_memory_equal(one, all + i * 7, sizeof one);
    }
    free(before);
    free(after);
    clip_free(&c);
    clip_free(&t.c);
    unlink(path);
    free(path);
}
EACH_TABLE(save_and_open)

/* A table that likes batches is given whole ones, and pictures may be bytes: the same features, wherever they stand. */
static void test_batches(void **state)
{
    (void)state;
    struct kernels k = *kernels_plain();
    struct tiny t;
    struct clip *c;
    float each[TINY_N * 7], got[TINY_N * 7], near[TINY_N * 7];
    uint8_t squares[TINY_N * TINY_VALUES];
    float pictures[TINY_N * TINY_VALUES];
    k.batches = true;
    tiny_new(&t, kernels_plain());
    assert_int_equal(clip_new(&c, &k, &tiny_config, TINY_N, false), 0);
    k.copy(clip_params(c)->values, clip_params(t.c)->values, clip_params(c)->total);
    for (uint32_t i = 0; i < sizeof squares; i++)
        squares[i] = (uint8_t)(i * 2654435761u >> 11);
    for (int i = 0; i < TINY_N; i++)
        clip_preprocess(&(struct image){tiny_config.side, tiny_config.side, squares + i * TINY_VALUES},
                        tiny_config.side, pictures + i * TINY_VALUES);
    for (int i = 0; i < TINY_N; i++)
        clip_image_features(t.c, pictures + i * TINY_VALUES, 1, true, each + (size_t)i * 7);
    for (int n = TINY_N; n > 0; n--) {
        clip_image_features(c, pictures, n, true, got);
        assert_memory_equal(got, each, (size_t)n * 7 * sizeof *got);
        clip_square_features(c, squares, n, true, near);
        check_close("features of bytes", near, each, (size_t)n * 7, 1e-5);
    }
    clip_text_features(t.c, t.text, TINY_N, false, each);
    for (int n = 1; n <= TINY_N; n++) {
        clip_text_features(c, t.text, n, false, got);
        assert_memory_equal(got, each, (size_t)n * 7 * sizeof *got);
    }
    clip_free(&c);
    clip_free(&t.c);
}

/* What follows the end token must not matter, be it another end token. */
static void text_is_causal(const struct kernels *k)
{
    struct tiny t;
    float before[7], after[7];
    tiny_new(&t, k);
    assert_int_equal(t.text[2], 12);
    clip_text_features(t.c, t.text, 1, false, before);
    t.text[3] = (t.text[3] + 1) % 12;
    t.text[4] = 12;
    clip_text_features(t.c, t.text, 1, false, after);
    assert_memory_equal(before, after, sizeof before);
    t.text[1] = (t.text[1] + 1) % 12;
    clip_text_features(t.c, t.text, 1, false, after);
    assert_memory_not_equal(before, after, sizeof before);
    clip_free(&t.c);
}
EACH_TABLE(text_is_causal)

static void learns_pairs(const struct kernels *k)
{
    struct tiny t;
    int correct = 0;
    tiny_new(&t, k);
    struct params *p = clip_params(t.c);
    float first = 0, last = 0;
    for (int i = 0; i < 60; i++) {
        k->fill(p->grads, 0, p->total);
        assert_int_equal(clip_train(t.c, t.pictures, t.text, TINY_N, &last, &correct), 0);
        first = i == 0 ? last : first;
        k->axpy(p->values, -0.02f, p->grads, p->total);
    }
    assert_true(last < first / 2);
    assert_int_equal(correct, TINY_N);
    clip_free(&t.c);
}
EACH_TABLE(learns_pairs)

static void read_whole(const char *path, struct image *im)
{
    struct buf file = {0};
    assert_int_equal(file_read(path, 64 << 20, &file), 0);
    if (image_decode(im, file.data, file.len, 0, 1) != 0)
        fail_msg("%s", err_text());
    buf_free(&file);
}

static void golden_preprocess(void **state)
{
    (void)state;
    static const char *const photos[] = {"chelsea.jpg", "flower.jpg", "retina.jpg"};
    enum { SIDE = 64 };
    if (access(PHOTOS "clip_preprocess.safetensors", R_OK) != 0)
        skip();
    struct weights *w;
    assert_int_equal(weights_load(&w, PHOTOS "clip_preprocess.safetensors"), 0);
    for (int i = 0; i < 3; i++) {
        char path[128], name[64];
        struct image im;
        static float got[SIDE * SIDE * 3];
        snprintf(path, sizeof path, PHOTOS "%s", photos[i]);
        snprintf(name, sizeof name, "out.%s", photos[i]);
        float *want = vector_floats(w, name, NULL);
        channels_last(want, 1, 3, SIDE * SIDE);
        read_whole(path, &im);
        clip_preprocess(&im, SIDE, got);
        check_close(name, got, want, SIDE * SIDE * 3, LOSS_TOLERANCE);
        image_free(&im);
        free(want);
    }
    weights_free(&w);
}

/* Whatever the shape, the result is a square of finite numbers, made without much memory. */
static void odd_shapes(void **state)
{
    (void)state;
    static const int shapes[][2] = {{1, 1}, {1, 60000}, {60000, 1}, {7, 5}, {8, 65}, {100, 101}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct image im;
        float out[32 * 32 * 3];
        image_alloc(&im, shapes[i][0], shapes[i][1]);
        memset(im.rgb, 255, (size_t)im.width * (size_t)im.height * 3);
        clip_preprocess(&im, 32, out);
        for (size_t j = 0; j < sizeof out / sizeof *out; j++)
            assert_true(out[j] > 1.9f && out[j] < 2.2f);
        image_free(&im);
    }
}

static void refusals(void **state)
{
    (void)state;
    struct clip *c;
    struct clip_config config = tiny_config;
    config.patch = 4;
    assert_int_equal(clip_new(&c, kernels_plain(), &config, 1, false), -1);
    assert_non_null(strstr(err_text(), "patches of 4"));
    config = tiny_config;
    config.text_heads = 4;
    assert_int_equal(clip_new(&c, kernels_plain(), &config, 1, false), -1);
    assert_non_null(strstr(err_text(), "text tower"));
    assert_int_equal(clip_open(&c, kernels_plain(), VECTORS "dvae.safetensors", 1), -1);
    assert_non_null(strstr(err_text(), "not a CLIP"));
    assert_int_equal(clip_open(&c, kernels_plain(), VECTORS "encoder.pkl", 1), -1);
    assert_non_null(strstr(err_text(), "no CLIP in it"));
    assert_null(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT_EACH_TABLE(golden_layouts),  UNIT_EACH_TABLE(golden_containers),
        UNIT_EACH_TABLE(golden_training), UNIT_EACH_TABLE(slopes),
        UNIT_EACH_TABLE(initial_values),  UNIT_EACH_TABLE(save_and_open),
        cmocka_unit_test(test_batches),   UNIT_EACH_TABLE(text_is_causal),
        UNIT_EACH_TABLE(learns_pairs),    cmocka_unit_test(golden_preprocess),
        cmocka_unit_test(odd_shapes),     cmocka_unit_test(refusals),
    };
    kernels_set_threads(1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
