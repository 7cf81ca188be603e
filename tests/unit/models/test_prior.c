/*
 * The prior's passes over whole sequences: golden numbers, finite differences, no leak from later tokens, files.
 */
#include "tests/unit/models/test_prior.h"

#include <unistd.h>

static void golden(const struct kernels *k)
{
    if (access(VECTORS "prior.safetensors", R_OK) != 0)
        skip();
    struct weights *w = vectors_open("prior.safetensors");
    int n = (int)weights_find(w, "in.text")->shape[0];
    struct prior *p;
    assert_int_equal(prior_open_weights(&p, k, w, "w.", n, PRIOR_TRAIN), 0);
    struct pair s = {vector_ints(w, "in.text"), vector_ints(w, "in.image")};
    size_t text, image;
    float *want_text = vector_floats(w, "out.text_logits", &text);
    float *want_image = vector_floats(w, "out.image_logits", &image), *loss = vector_floats(w, "out.loss", NULL);
    float *got_text = xmalloc(text * sizeof *got_text), *got_image = xmalloc(image * sizeof *got_image);
    struct prior_losses l;
    prior_eval(p, s.text, s.image, n, &l, got_text, got_image);
    check_close("text logits", got_text, want_text, text, LOSS_TOLERANCE);
    check_close("image logits", got_image, want_image, image, LOSS_TOLERANCE);
    check_close("loss", &l.loss, loss, 1, LOSS_TOLERANCE);
    prior_train(p, s.text, s.image, n, 1, &l);
    check_close("training loss", &l.loss, loss, 1, LOSS_TOLERANCE);
    check_gradients(prior_params(p), w);
    free(got_image);
    free(got_text);
    free(loss);
    free(want_image);
    free(want_text);
    free_pairs(&s);
    prior_free(&p);
    weights_free(&w);
}

struct slope_case {
    struct prior *p;
    struct pair s;
    int n;
};

static double slope_loss(void *arg)
{
    const struct slope_case *c = arg;
    struct prior_losses l;
    prior_eval(c->p, c->s.text, c->s.image, c->n, &l, NULL, NULL);
    return (double)l.loss;
}

static void finite_differences(const struct kernels *k)
{
    struct slope_case c = {random_prior(k, &small, 2, PRIOR_TRAIN), random_pairs(&small, 2, 5), 2};
    struct prior_losses l;
    prior_train(c.p, c.s.text, c.s.image, c.n, 1, &l);
    check_slopes(prior_params(c.p), slope_loss, &c, 1e-2f, 0.02);
    free_pairs(&c.s);
    prior_free(&c.p);
}

static float *take_gradients(struct prior *p)
{
    struct params *params = prior_params(p);
    float *gradients = xmalloc(params->total * sizeof *gradients);
    params->k->download(gradients, params->grads, params->total);
    params->k->fill(params->grads, 0, params->total);
    return gradients;
}

/* A batch is the mean of its micro-batches, over more logits than are kept at one time. */
static void test_micro_batches(void **state)
{
    (void)state;
    struct prior_config c = small;
    c.image_vocab = 300000; /* 13 rows a chunk */
    const int n = 2;
    size_t positions = (size_t)c.grid * (size_t)c.grid;
    struct prior *p = random_prior(kernels_cpu(), &c, n, PRIOR_TRAIN);
    struct pair s = random_pairs(&c, n, 6);
    struct prior_losses all, one[2];
    prior_train(p, s.text, s.image, n, 1, &all);
    float *together = take_gradients(p);
    for (size_t i = 0; i < 2; i++)
        prior_train(p, s.text + i * (size_t)c.text_len, s.image + i * positions, 1, 0.5f, &one[i]);
    float *apart = take_gradients(p);
    assert_true(fabsf(all.loss - (one[0].loss + one[1].loss) / 2) < 1e-5f * all.loss);
    assert_true(fabsf(all.text - (one[0].text + one[1].text) / 2) < 1e-5f * all.text);
    assert_true(fabsf(all.image - (one[0].image + one[1].image) / 2) < 1e-5f * all.image);
    const struct params *params = prior_params(p);
    for (int i = 0; i < params->count; i++) {
        size_t at = params->list[i].offset;
        check_close(params->list[i].name, apart + at, together + at, params->list[i].count, 1e-4);
    }
    free(apart);
    free(together);
    free_pairs(&s);
    prior_free(&p);
}

/* Activations that are computed again are the same, so the gradients are the same bits. */
static void test_recomputation(void **state)
{
    (void)state;
    const struct kernels *k = kernels_cpu();
    struct prior *kept = random_prior(k, &small, 2, PRIOR_TRAIN), *again = random_prior(k, &small, 2, PRIOR_RECOMPUTE);
    struct pair s = random_pairs(&small, 2, 9);
    struct prior_losses a, b;
    prior_train(kept, s.text, s.image, 2, 1, &a);
    prior_train(again, s.text, s.image, 2, 1, &b);
    assert_memory_equal(&a, &b, sizeof a);
    float *want = take_gradients(kept), *got = take_gradients(again);
    assert_memory_equal(got, want, prior_params(kept)->total * sizeof *want);
    free(want);
    free(got);
    free_pairs(&s);
    prior_free(&again);
    prior_free(&kept);
}

struct logits {
    float *text, *image;
    size_t text_row, image_row; /* of one position */
};

static struct logits run_logits(struct prior *p, const struct pair *s)
{
    const struct prior_config *c = prior_config(p);
    struct logits l = {.text_row = (size_t)(c->text_vocab + c->text_len), .image_row = (size_t)c->image_vocab};
    l.text = xmalloc((size_t)c->text_len * l.text_row * sizeof *l.text);
    l.image = xmalloc((size_t)c->grid * (size_t)c->grid * l.image_row * sizeof *l.image);
    struct prior_losses losses;
    prior_eval(p, s->text, s->image, 1, &losses, l.text, l.image);
    return l;
}

/* Logits of the first `text` tokens and the first `image` codes are the same bits, and some behind them are not. */
static void check_same_until(struct prior *p, const struct logits *before, const struct pair *s, int text, int image)
{
    const struct prior_config *c = prior_config(p);
    struct logits after = run_logits(p, s);
    assert_memory_equal(after.text, before->text, (size_t)text * before->text_row * sizeof(float));
    assert_memory_equal(after.image, before->image, (size_t)image * before->image_row * sizeof(float));
    int positions = c->grid * c->grid;
    if (image < positions)
        assert_memory_not_equal(after.image + (size_t)image * before->image_row,
                                before->image + (size_t)image * before->image_row,
                                (size_t)(positions - image) * before->image_row * sizeof(float));
    free(after.text);
    free(after.image);
}

static void no_leak(const struct kernels *k)
{
    int positions = small.grid * small.grid;
    struct prior *p = random_prior(k, &small, 1, PRIOR_INFER);
    struct pair s = random_pairs(&small, 1, 7);
    struct logits before = run_logits(p, &s);
    for (int t = 0; t < small.text_len; t++) {
        int32_t was = s.text[t];
        s.text[t] = (was + 1) % small.text_vocab;
        check_same_until(p, &before, &s, t + 1, 0);
        s.text[t] = was;
    }
    for (int q = 0; q < positions; q++) {
        int32_t was = s.image[q];
        s.image[q] = (was + 1) % small.image_vocab;
        check_same_until(p, &before, &s, small.text_len, q + 1);
        s.image[q] = was;
    }
    free(before.text);
    free(before.image);
    free_pairs(&s);
    prior_free(&p);
}

static void test_layer_masks(void **state)
{
    (void)state;
    static const enum mask want[] = {MASK_ROW, MASK_COLUMN, MASK_ROW, MASK_ROW, MASK_ROW, MASK_COLUMN, MASK_CONV};
    struct prior_config c = small;
    c.layers = 7;
    for (int i = 0; i < 7; i++)
        assert_int_equal(prior_mask(&c, i), want[i]);
    c.layers = 1;
    assert_int_equal(prior_mask(&c, 0), MASK_CONV);
}

static void test_files(void **state)
{
    (void)state;
    char path[] = "/tmp/test_prior_XXXXXX";
    assert_true(close(mkstemp(path)) == 0);
    struct prior *p = random_prior(kernels_cpu(), &small, 1, PRIOR_INFER), *opened;
    struct pair s = random_pairs(&small, 1, 8);
    struct prior_losses before, after;
    prior_eval(p, s.text, s.image, 1, &before, NULL, NULL);
    assert_int_equal(prior_save(p, prior_params(p)->values, path), 0);
    assert_int_equal(prior_open(&opened, kernels_cpu(), path, 1), 0);
    assert_memory_equal(prior_config(opened), &small, sizeof small);
    prior_eval(opened, s.text, s.image, 1, &after, NULL, NULL);
    assert_memory_equal(&after, &before, sizeof before);
    prior_free(&opened);

    /* Metadata that claims more than the tensors are. */
    static const char *const meta[] = {"layers",     "5", "heads",    "1000", "head_dim",    "16",
                                       "text_vocab", "7", "text_len", "3",    "image_vocab", "6",
                                       "grid",       "4", "kernel",   "3",    NULL};
    assert_int_equal(params_save(prior_params(p), prior_params(p)->values, path, meta), 0);
    assert_int_equal(prior_open(&opened, kernels_cpu(), path, 1), -1);
    assert_non_null(strstr(err_text(), "start has shape [8], but this model needs [16000]"));
    assert_int_equal(params_save(prior_params(p), prior_params(p)->values, path, meta + 2), 0);
    assert_int_equal(prior_open(&opened, kernels_cpu(), path, 1), -1);
    assert_non_null(strstr(err_text(), "layers"));
    free_pairs(&s);
    prior_free(&p);
    unlink(path);
}

EACH_TABLE(golden)
EACH_TABLE(finite_differences)
EACH_TABLE(no_leak)

int main(void)
{
    const struct CMUnitTest tests[] = {
        UNIT_EACH_TABLE(golden),
        UNIT_EACH_TABLE(finite_differences),
        UNIT_EACH_TABLE(no_leak),
        cmocka_unit_test(test_micro_batches),
        cmocka_unit_test(test_recomputation),
        cmocka_unit_test(test_layer_masks),
        cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
