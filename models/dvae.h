/*
 * The discrete VAE (MODELS.md, 1): pictures to a grid of codes and back. OpenAI's layout and names: parameters are
 * "encoder.blocks..." and "decoder.blocks...". Pictures are [batch, side, side, 3] floats 0 .. 255 (NHWC); logits
 * [batch, grid * grid, vocab].
 */
#ifndef ATELIER_MODELS_DVAE_H
#define ATELIER_MODELS_DVAE_H

#include "models/params.h"

struct dvae_config {
    int hidden; /* n_hid */
    int init;   /* n_init, the decoder's first width; 0: there is no decoder, only codes can be made */
    int groups; /* a 2x2 pooling after each but the last: side = grid << (groups - 1) */
    int blocks; /* residual blocks in a group */
    int vocab;
};

struct dvae;

/* `side`: pixels of the pictures that this instance handles; `batch`: the most pictures a call. With `train`, gradients
 * and what the backward pass needs are allocated too; without, activations are shared between layers, and a network's
 * weights are packed for inference at its first use: they may not change after it. 0 or -1. */
int dvae_new(struct dvae **d, const struct kernels *k, const struct dvae_config *c, int side, int batch, bool train);
void dvae_free(struct dvae **d);

struct params *dvae_params(struct dvae *d);
const struct dvae_config *dvae_config(const struct dvae *d);
int dvae_side(const struct dvae *d);
int dvae_grid(const struct dvae *d);
int dvae_batch(const struct dvae *d);

/* Pictures that go through the networks at once where memory is no question, of those a call is given: on a CPU one, in
 * whose caches its states stay, on a device as many as keep it busy. */
int dvae_together(const struct kernels *k, int side);

/* Opens a dVAE: our own safetensors file, or OpenAI's encoder.pkl (then `decoder_path` names decoder.pkl, or is NULL
 * when only codes are wanted), in any container (weights.h), its tensors under their own names or behind a prefix.
 * Sizes are read off the tensors' shapes. `side` 0: what the file was trained at (metadata), else 256. `batch` 0:
 * dvae_together. 0 or -1. */
int dvae_open(struct dvae **d, const struct kernels *k, const char *path, const char *decoder_path, int side,
              int batch);
/* Writes a slab laid out like the parameters (values or averages) with the configuration as metadata. */
int dvae_save(const struct dvae *d, struct tensor slab, const char *path);

/* Pixels 0 .. 255 to x = (1 - 2e) p / 255 + e, e = 0.1, in place on host memory. */
void dvae_map_pixels(float *x, size_t n);

/* Host in, host out. codes [batch, grid * grid] from pictures u8 [batch, side, side, 3], each 0 .. vocab - 1, or -1
 * where the network's numbers were not finite (dvae_are_codes: there is none of those); pictures from codes, which
 * must all be codes. n <= batch. */
void dvae_encode(struct dvae *d, const uint8_t *pictures, int n, int32_t *codes);
bool dvae_are_codes(const int32_t *codes, size_t n);
void dvae_decode(struct dvae *d, const int32_t *codes, int n, uint8_t *pictures);

/* dvae_encode in its parts, so that a device works on one batch while the host brings the next and takes care of the
 * last one's codes. On a device put and run return before their work is done. What was put is what the next run takes;
 * put, fetch (the codes of the run before), run is an order that works. dvae_decode may come anywhere. */
void dvae_encode_put(struct dvae *d, const uint8_t *pictures, int n);
void dvae_encode_run(struct dvae *d, int n);
void dvae_encode_fetch(struct dvae *d, int n, int32_t *codes);

/* Lower level, for tests and training: device tensors that belong to the dvae and hold until the next call. x is mapped
 * pixels [n, side, side, 3]; stats [n, side * side, 6]. z are code weights [n, grid * grid, vocab]. A result does not
 * depend on the pictures that go through with it. */
struct tensor dvae_logits(struct dvae *d, struct tensor x, int n);
struct tensor dvae_stats(struct dvae *d, struct tensor z, int n);

struct dvae_step {
    const struct comm *comm; /* NULL: the batch is whole; else the processes that each have a part of it */
    float share;             /* this process's part of the batch's pictures */
    float tau, beta;
    float entropy; /* weight of the bonus on the entropy of the mean code use: loss -= entropy * H / ln(vocab); 0: the
                      paper's loss */
    float scale_floor;  /* least b of the density; 0: the paper's. Flat backgrounds otherwise drive b to nothing, and
                           the noise of their gradients, 1 / b, drowns all else */
    uint64_t key, hi;   /* names the first picture's Gumbel noise (random.h); the next picture's is hi + 1 ... */
    const float *noise; /* ... or, not NULL, the noise itself, host [n, grid * grid, vocab] */
};
struct dvae_losses {
    float loss, nll, kl; /* nll and kl as MODELS.md: nll the mean over values, kl nats a picture */
    float use_entropy;   /* H of the mean code use, nats */
};
/* Forward and backward of one batch, or of this process's part of it (host, mapped pixels [n, side, side, 3]);
 * gradients are added to params->grads times `grad_scale` (share / number of micro-batches), so that their sum over
 * processes is the batch's. The losses are the part's, means over it, but the code use is the batch's. `codes`: NULL,
 * or host [n, grid * grid], receives the argmax codes. 0, or -1 when another process was lost. */
int dvae_train(struct dvae *d, const float *x, int n, const struct dvae_step *s, float grad_scale,
               struct dvae_losses *out, int32_t *codes);

/* k-means initialisation (an option beside the paper's recipe, against a codebook that collapses at the start):
 * clusters the encoder's last features f, those behind the final ReLU, of `count` pictures (host, mapped pixels) into
 * `vocab` centres c by `iterations` of Lloyd's algorithm. Seeds are positions drawn at random; a cluster that becomes
 * empty restarts at a position drawn as k-means++ draws, by its distance squared from its centre. Then the encoder's
 * output layer is set to logit = (2 f.c - |c|^2) / scale, so that a position's code is its nearest centre (a small
 * `scale` makes it sure of that), and column v of the decoder's input layer to centre v less the centres' mean: the
 * centre itself where init is the features' width, else random projections of it; at unit variance. Same seed, same
 * result. Needs as many positions as codes, and an instance for
 * training. 0 or -1. */
int dvae_init_kmeans(struct dvae *d, const float *x, int count, float scale, int iterations, uint64_t seed);

#endif
