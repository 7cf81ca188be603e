/*
 * The link's socket, its sessions and the way of messages (link.h). What a feeder and a worker do with them is in
 * link_feed.c and link_work.c.
 *
 * Facts of libzmq 4.3 that shape this: it drops messages when a connection breaks, silently, and sends those that
 * waited when it is back; ROUTER drops those to unknown peers unless MANDATORY; closing waits for ever unless LINGER;
 * with IMMEDIATE a connection that ended within a message of several frames has ended the program ("!_more
 * (src/fq.cpp)"; once, and not in minutes of peers that come and go).
 */
#include "common/err.h"
#include "common/link_private.h"
#include "common/log.h"
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define LINGER_MS 500
#define SEND_MESSAGES 10000 /* that wait for a connection: credit bounds batches, this bounds heartbeats */
#define RECONNECT_MS 100
#define RECONNECT_MAX_MS 1000
#define TCP_HEARTBEAT_MS 1000
#define TCP_SILENCE_MS 3000
#define FEEDER_SILENCE_SECONDS 30.0 /* a worker that binds forgets a feeder */
#define MAX_MESSAGES 4096           /* taken before timers are looked at */
#define MAX_REFUSALS_SHOWN 5
#define GUARD_SECONDS 0.2
#define ALONE_SECONDS 10.0     /* until it is said that nobody is there */
#define MAPPED_BYTES (4 << 20) /* allocations from which on malloc asks the kernel for each */
#define KEPT_BYTES (32 << 20)  /* free memory that malloc keeps: with 2 MB it took longer than sending */

static uint64_t random_number(void)
{
    uint64_t number = 0;
    while (number == 0 && getrandom(&number, sizeof number, 0) >= 0)
        ;
    return number;
}

static int set(struct link *l, int option, int value)
{
    return zmq_setsockopt(l->socket, option, &value, sizeof value);
}

static int attach(struct link *l, const struct link_options *options)
{
    const char *address = l->binds ? l->uri + strlen("bind+") : l->uri;
    if (strncmp(address, "tcp://", 6) != 0 && strncmp(address, "ipc://", 6) != 0)
        return err_set(ERR_USAGE, "%s: a link is tcp://HOST:PORT or ipc://PATH, with bind+ in front where it binds",
                       l->uri);
    uint64_t name = random_number() | 1; /* its first byte must not be zero */
    int64_t limit = LINK_MAX_BODY_BYTES;
    l->context = zmq_ctx_new();
    l->socket = l->context ? zmq_socket(l->context, l->binds ? ZMQ_ROUTER : ZMQ_DEALER) : NULL;
    if (l->socket == NULL)
        return err_set(ERR_AGAIN, "%s: %s", l->uri, zmq_strerror(errno));
    int rc = set(l, ZMQ_LINGER, LINGER_MS) | set(l, ZMQ_SNDHWM, SEND_MESSAGES) | set(l, ZMQ_RCVHWM, 0) |
             set(l, ZMQ_RECONNECT_IVL, RECONNECT_MS) | set(l, ZMQ_RECONNECT_IVL_MAX, RECONNECT_MAX_MS) |
             set(l, ZMQ_HEARTBEAT_IVL, TCP_HEARTBEAT_MS) | set(l, ZMQ_HEARTBEAT_TIMEOUT, TCP_SILENCE_MS) |
             zmq_setsockopt(l->socket, ZMQ_MAXMSGSIZE, &limit, sizeof limit);
    if (l->binds)
        rc |= set(l, ZMQ_ROUTER_MANDATORY, 1) | set(l, ZMQ_ROUTER_HANDOVER, 1);
    else
        rc |= zmq_setsockopt(l->socket, ZMQ_ROUTING_ID, &name, sizeof name);
    if (rc != 0)
        return err_set(ERR_BUG, "%s: socket options: %s", l->uri, zmq_strerror(errno));
    if (link_guard_start(l, address, options) < 0)
        return -1;
    if ((l->binds ? zmq_bind : zmq_connect)(l->socket, address) != 0)
        return err_set(errno == EINVAL || errno == EPROTONOSUPPORT ? ERR_USAGE : ERR_IO, "%s: %s", l->uri,
                       zmq_strerror(errno));
    return 0;
}

static struct link_peer *add_peer(struct link *l, const void *id, size_t id_len)
{
    struct link_peer *peer = xcalloc(1, sizeof *peer);
    memcpy(peer->id, id, id_len);
    peer->id_len = id_len;
    l->peers[l->peer_count++] = peer;
    return peer;
}

int link_open(struct link **out, const char *uri, const struct link_options *options)
{
    struct link *l = *out = xcalloc(1, sizeof *l);
    l->role = l->counts.role = options->role;
    l->binds = strncmp(uri, "bind+", strlen("bind+")) == 0;
    l->uri = xstrdup(uri);
    l->run = xstrdup(options->run ? options->run : "");
    l->credit_items = options->credit_items;
    l->credit_bytes = options->credit_bytes;
    mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES);
    mallopt(M_TRIM_THRESHOLD, KEPT_BYTES);
    if (attach(l, options) < 0) {
        link_close(out);
        return -1;
    }
    if (!l->binds)
        add_peer(l, "", 0)->session = random_number();
    return 0;
}

void link_close(struct link **pointer)
{
    struct link *l = *pointer;
    if (l == NULL)
        return;
    feed_close(l);
    work_close(l);
    for (size_t i = 0; i < l->peer_count; i++)
        free(l->peers[i]);
    if (l->socket)
        zmq_close(l->socket);
    if (l->handshakes)
        zmq_close(l->handshakes);
    if (l->context)
        zmq_ctx_term(l->context);
    link_guard_stop(l);
    free(l->uri);
    free(l->run);
    free(l);
    *pointer = NULL;
}

void *link_socket(const struct link *l)
{
    return l->socket;
}

const struct link_counts *link_counts(const struct link *l)
{
    return &l->counts;
}

bool link_send_body(struct link *l, struct link_peer *peer, struct link_head head, zmq_msg_t *body)
{
    unsigned char bytes[LINK_HEAD_BYTES];
    int flags = ZMQ_DONTWAIT | ZMQ_SNDMORE;
    if (head.session == 0 && head.type != LINK_HELLO)
        head.session = peer->session;
    link_head_pack(&head, zmq_msg_data(body), zmq_msg_size(body), bytes);
    bool sent = (!l->binds || zmq_send(l->socket, peer->id, peer->id_len, flags) >= 0) &&
                zmq_send(l->socket, bytes, sizeof bytes, flags) >= 0 &&
                zmq_msg_send(body, l->socket, ZMQ_DONTWAIT) >= 0;
    if (!sent)
        zmq_msg_close(body);
    peer->unreachable = !sent;
    return sent;
}

static void free_bytes(void *data, void *hint)
{
    (void)hint;
    free(data);
}

void link_body(zmq_msg_t *message, struct buf *bytes)
{
    if (zmq_msg_init_data(message, bytes->data, bytes->len, free_bytes, NULL) != 0)
        mem_gone(bytes->len);
    *bytes = (struct buf){0};
}

bool link_send(struct link *l, struct link_peer *peer, struct link_head head, const void *body, size_t len)
{
    zmq_msg_t message;
    if (zmq_msg_init_size(&message, len) != 0)
        return false;
    if (len > 0)
        memcpy(zmq_msg_data(&message), body, len);
    return link_send_body(l, peer, head, &message);
}

/* Ends the peer's session; what it held, or what it gave, is taken back. */
static void reset(struct link *l, struct link_peer *peer, bool blame)
{
    if (l->role == LINK_FEEDER)
        feed_reset(l, peer, blame);
    else
        work_reset(l, peer);
    struct link_peer fresh = {.id_len = peer->id_len, .heard = l->serviced};
    memcpy(fresh.id, peer->id, peer->id_len);
    *peer = fresh;
    if (!l->binds)
        peer->session = random_number();
}

static void say_hello(struct link *l, struct link_peer *peer)
{
    struct buf body = {0};
    link_text_pack(&body, (uint8_t)l->role, l->run);
    link_send(l, peer, (struct link_head){.type = LINK_HELLO, .session = peer->session}, body.data, body.len);
    buf_free(&body);
    peer->spoke = l->serviced;
}

/* Whether a peer that says HELLO fits; else the error says why not. */
static bool fits(const struct link *l, const unsigned char *body, size_t len)
{
    size_t run_len = strlen(l->run);
    const char *name = (const char *)body + 1;
    if (body[0] != (l->role == LINK_FEEDER ? LINK_WORKER : LINK_FEEDER)) {
        const char *both = l->role == LINK_FEEDER ? "feed" : "take";
        err_set(ERR_USAGE, "%s: both ends of the link want to %s records: one needs it as --in, the other as --out",
                l->uri, both);
        return false;
    }
    if (run_len > 0 && len > 1 && (len - 1 != run_len || memcmp(name, l->run, run_len) != 0)) {
        err_set(ERR_DATA, "%s: this end belongs to the run '%s', the other end to the run '%.*s'", l->uri, l->run,
                (int)(len - 1), name);
        return false;
    }
    return true;
}

static void refuse(struct link *l, const char *why)
{
    if (++l->counts.refused <= MAX_REFUSALS_SHOWN)
        log_warn("%s: refused: %s", l->uri, why);
}

/* To one that speaks in a session unknown here: it shall say HELLO. */
static void send_unknown(struct link *l, const void *id, size_t id_len, uint64_t session)
{
    struct link_peer stranger = {.id_len = id_len};
    memcpy(stranger.id, id, id_len);
    l->counts.stale++;
    link_send(l, &stranger, (struct link_head){.type = LINK_HELLO, .batch = session}, "", 1);
}

static void accept_hello(struct link *l, struct link_peer *peer, const void *id, size_t id_len,
                         const struct link_head *head, const zmq_msg_t *body)
{
    const unsigned char *text = zmq_msg_data((zmq_msg_t *)body);
    if (head->session == 0)
        return;
    if (!fits(l, text, zmq_msg_size(body))) {
        struct link_peer stranger = {.id_len = id_len};
        struct buf why = {0};
        memcpy(stranger.id, id, id_len);
        link_text_pack(&why, LINK_PERMANENT, err_text());
        refuse(l, err_text());
        struct link_head answer = {.type = LINK_NACK, .session = head->session};
        link_send(l, &stranger, answer, why.data, why.len);
        buf_free(&why);
        return;
    }
    if (peer == NULL && l->peer_count == LINK_MAX_PEERS) {
        refuse(l, "too many peers");
        return;
    }
    if (peer == NULL)
        peer = add_peer(l, id, id_len);
    else if (peer->session != head->session)
        reset(l, peer, false);
    peer->session = head->session;
    peer->greeted = true;
    peer->heard = l->serviced;
    say_hello(l, peer);
}

static void answered_hello(struct link *l, struct link_peer *peer, const struct link_head *head, const zmq_msg_t *body)
{
    if (head->session == 0) {
        if (head->batch == peer->session && peer->greeted)
            reset(l, peer, false);
        return;
    }
    if (head->session != peer->session) {
        l->counts.stale++;
    } else if (!fits(l, zmq_msg_data((zmq_msg_t *)body), zmq_msg_size(body))) {
        l->refused = true;
    } else {
        peer->greeted = true;
        peer->heard = l->serviced;
    }
}

static struct link_peer *find_peer(const struct link *l, const void *id, size_t id_len)
{
    for (size_t i = 0; i < l->peer_count; i++)
        if (l->peers[i]->id_len == id_len && memcmp(l->peers[i]->id, id, id_len) == 0)
            return l->peers[i];
    return NULL;
}

/* One message, from its head on. */
static void dispatch(struct link *l, const void *id, size_t id_len, const struct link_head *head, zmq_msg_t *body)
{
    struct link_peer *peer = find_peer(l, id, id_len);
    if (head->type == LINK_HELLO) {
        if (l->binds)
            accept_hello(l, peer, id, id_len, head, body);
        else
            answered_hello(l, peer, head, body);
        return;
    }
    if (!l->binds && head->type == LINK_NACK && head->batch == 0 && head->session == peer->session) {
        err_set(ERR_DATA, "%s: refused by the other end: %.*s", l->uri, (int)zmq_msg_size(body) - 1,
                (const char *)zmq_msg_data(body) + 1);
        l->refused = true;
        return;
    }
    if (peer == NULL || !peer->greeted || peer->session != head->session) {
        if (l->binds)
            send_unknown(l, id, id_len, head->session);
        else
            l->counts.stale++;
        return;
    }
    peer->heard = l->serviced;
    peer->unreachable = false;
    if (l->role == LINK_FEEDER)
        feed_receive(l, peer, head, body);
    else
        work_receive(l, peer, head, body);
}

/* Takes one message of any form off the socket: false when there is none. */
static bool receive(struct link *l)
{
    zmq_msg_t frames[3];
    size_t count = 0, wanted = l->binds ? 3 : 2;
    bool more = true;
    while (more) {
        zmq_msg_t frame;
        zmq_msg_init(&frame);
        if (zmq_msg_recv(&frame, l->socket, ZMQ_DONTWAIT) < 0) {
            zmq_msg_close(&frame);
            break;
        }
        more = zmq_msg_more(&frame);
        if (count < wanted)
            frames[count] = frame;
        else
            zmq_msg_close(&frame);
        count++;
    }
    if (count == wanted) {
        struct link_head head;
        zmq_msg_t *body = &frames[wanted - 1], *first = &frames[wanted - 2];
        size_t id_len = l->binds ? zmq_msg_size(&frames[0]) : 0;
        if (link_head_unpack(&head, zmq_msg_data(first), zmq_msg_size(first), zmq_msg_data(body), zmq_msg_size(body)) <
            0)
            refuse(l, err_text());
        else
            dispatch(l, l->binds ? zmq_msg_data(&frames[0]) : "", id_len, &head, body);
    } else if (count > 0) {
        refuse(l, "a message of another protocol");
    }
    for (size_t i = 0; i < count && i < wanted; i++)
        zmq_msg_close(&frames[i]);
    return count > 0;
}

/* Whom libzmq turned away. Now and then: to find nothing takes two system calls. */
static void watch_handshakes(struct link *l, double now)
{
    if (now - l->guarded < GUARD_SECONDS)
        return;
    l->guarded = now;
    for (const char *why; (why = link_guard_refusal(l));)
        refuse(l, why);
}

/* Sessions of peers that are silent for too long end. */
static void watch_silence(struct link *l, double now)
{
    double limit = l->role == LINK_FEEDER ? LINK_SILENCE_SECONDS : FEEDER_SILENCE_SECONDS;
    for (size_t i = 0; i < l->peer_count; i++) {
        struct link_peer *peer = l->peers[i];
        if (!peer->greeted || now - peer->heard <= limit || (!l->binds && l->role == LINK_WORKER))
            continue;
        reset(l, peer, true);
        if (l->binds) {
            free(peer);
            l->peers[i--] = l->peers[--l->peer_count];
        }
    }
}

void link_flush(struct link *l, double now)
{
    if (l->role == LINK_FEEDER)
        feed_service(l, now);
    else
        work_service(l, now);
}

/* A wrong address waits as a slow start does. At the end another message says more (link_feed.c). */
static void watch_peers(struct link *l, double now)
{
    if (l->counts.peers > 0 || l->alone == 0 || l->ending) {
        l->alone = now;
    } else if (!l->alone_said && now - l->alone >= ALONE_SECONDS) {
        log_warn("%s: nobody has %s for %.0f s; waiting", l->uri, l->binds ? "connected" : "answered", ALONE_SECONDS);
        l->alone_said = true;
    }
}

int link_service(struct link *l, double now)
{
    /* Whoever was stopped itself has heard nobody meanwhile. */
    double stalled = l->serviced > 0 && now - l->serviced > LINK_HEARTBEAT_SECONDS ? now - l->serviced : 0;
    for (size_t i = 0; i < l->peer_count; i++)
        l->peers[i]->heard += stalled;
    l->serviced = now;
    for (int i = 0; i < MAX_MESSAGES && receive(l); i++)
        ;
    watch_handshakes(l, now);
    watch_silence(l, now);
    struct link_peer *only = l->peers[0];
    if (!l->binds && !only->greeted && (only->unreachable || now - only->spoke >= LINK_HEARTBEAT_SECONDS))
        say_hello(l, only);
    link_flush(l, now);
    l->counts.peers = 0;
    for (size_t i = 0; i < l->peer_count; i++)
        l->counts.peers += l->peers[i]->greeted;
    watch_peers(l, now);
    return l->refused || l->stuck ? -1 : 0;
}
