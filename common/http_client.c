/* SPDX-License-Identifier: Apache-2.0 */
/*
 * common/http_client.c -- libcurl's multi handle on the loop: sockets, its timer, what is done.
 */
#include "common/http_client_internal.h"

#include <pthread.h>
#include <unistd.h>

#include "common/mem.h"

/* GnuTLS asks for it before main (its manual, "Initialization"): Debian's libcurl brings it along
 * for LDAP and RTMP, which nobody here speaks, and its tests of itself take most of a megabyte. */
int _gnutls_global_init_skip(void);

int
_gnutls_global_init_skip(void)
{
    return 1;
}

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void
curl_init(void)
{
    DS_ASSERT(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK);
}

static void
client_reap(HttpClient *client)
{
    CURLMsg *message;
    int left;

    /* on_done may free the client: its memory and the multi handle last until the turn's end. */
    while (!client->closing && (message = curl_multi_info_read(client->multi, &left)) != NULL) {
        HttpTransfer *transfer = NULL;
        CURLcode code = message->data.result;

        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&transfer);
        if (message->msg == CURLMSG_DONE && transfer->state == HTTP_TRANSFER_ACTIVE) {
            http_transfer_finish(transfer, code);
        }
    }
}

int
http_client_on_close_socket(void *arg, curl_socket_t fd)
{
    HttpClient *client = arg;

    if (client->keeps && client->kept_fd < 0) {
        client->kept_fd = fd;
        return 0;
    }
    return close(fd);
}

static void
client_act(HttpClient *client, curl_socket_t fd, int events)
{
    int running;

    client->in_curl++;
    (void)curl_multi_socket_action(client->multi, fd, events, &running);
    client->in_curl--;
    client_reap(client);
}

static void
on_socket_event(void *arg, unsigned events)
{
    HttpSocket *entry = arg;
    int curl_events = 0;

    if (events & LOOP_READABLE) {
        curl_events |= CURL_CSELECT_IN;
    }
    if (events & LOOP_WRITABLE) {
        curl_events |= CURL_CSELECT_OUT;
    }
    client_act(entry->client, entry->fd, curl_events);
}

static void
on_curl_time(void *arg)
{
    client_act(arg, CURL_SOCKET_TIMEOUT, 0);
}

static void
socket_free(HttpSocket *entry)
{
    LIST_REMOVE(entry, link);
    fd_free(entry->watch);
    loop_defer_free(entry->client->loop, entry); /* its own event may be under way */
}

/* CURLMOPT_SOCKETFUNCTION: what libcurl wants to hear of a socket. */
static int
on_curl_socket(CURL *easy DS_UNUSED, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    HttpClient *client = arg;
    HttpSocket *entry = socket_arg;
    unsigned events = 0;

    if (what == CURL_POLL_REMOVE) {
        if (entry != NULL) {
            (void)curl_multi_assign(client->multi, fd, NULL);
            socket_free(entry);
        }
        return 0;
    }
    if (entry == NULL) {
        entry = mem_zalloc(sizeof(*entry));
        entry->client = client;
        entry->fd = fd;
        entry->watch = fd_new(client->loop, fd, on_socket_event, entry);
        LIST_INSERT_HEAD(&client->sockets, entry, link);
        (void)curl_multi_assign(client->multi, fd, entry);
    }
    if (what & CURL_POLL_IN) {
        events |= LOOP_READABLE;
    }
    if (what & CURL_POLL_OUT) {
        events |= LOOP_WRITABLE;
    }
    fd_watch(entry->watch, events);
    return 0;
}

/* CURLMOPT_TIMERFUNCTION */
static int
on_curl_timer(CURLM *multi DS_UNUSED, long delay_ms, void *arg)
{
    HttpClient *client = arg;

    if (delay_ms < 0) {
        timer_stop(client->timer);
    } else {
        timer_start(client->timer, delay_ms);
    }
    return 0;
}

HttpClient *
http_client_new(Loop *loop, const HttpClientConfig *config)
{
    HttpClient *client = mem_zalloc(sizeof(*client));

    (void)pthread_once(&curl_once, curl_init);
    client->loop = loop;
    client->user_agent = mem_strdup(config->user_agent);
    client->ca_file = mem_strdup(config->ca_file);
    client->cert_file = mem_strdup(config->cert_file);
    client->key_file = mem_strdup(config->key_file);
    client->bearer = config->bearer;
    client->connect_ms_max =
        config->connect_ms_max > 0 ? config->connect_ms_max : HTTP_CONNECT_MS_DEFAULT;
    client->timer = timer_new(loop, on_curl_time, client);
    client->kept_fd = -1;
    client->has_proxy =
        getenv("http_proxy") != NULL || getenv("all_proxy") != NULL || getenv("ALL_PROXY") != NULL;
    LIST_INIT(&client->transfers);
    LIST_INIT(&client->sockets);
    client->multi = curl_multi_init();
    DS_ASSERT(client->multi != NULL);
    (void)curl_multi_setopt(client->multi, CURLMOPT_SOCKETFUNCTION, on_curl_socket);
    (void)curl_multi_setopt(client->multi, CURLMOPT_SOCKETDATA, client);
    (void)curl_multi_setopt(client->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
    (void)curl_multi_setopt(client->multi, CURLMOPT_TIMERDATA, client);
    (void)curl_multi_setopt(client->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, config->connections_max);
    return client;
}

/* At the end of the turn, when no callback of libcurl is on the stack. */
static void
client_destroy(void *arg)
{
    HttpClient *client = arg;

    while (!LIST_EMPTY(&client->transfers)) {
        http_transfer_dispose(LIST_FIRST(&client->transfers));
    }
    client->in_curl++;
    (void)curl_multi_cleanup(client->multi);
    client->in_curl--;
    while (!LIST_EMPTY(&client->sockets)) {
        socket_free(LIST_FIRST(&client->sockets));
    }
    timer_free(client->timer);
    free(client->long_buffer);
    free(client->user_agent);
    free(client->ca_file);
    free(client->cert_file);
    free(client->key_file);
    loop_defer_free(client->loop, client);
}

void
http_client_free(HttpClient *client)
{
    HttpTransfer *transfer;

    if (client == NULL) {
        return;
    }
    DS_ASSERT(!client->closing);
    client->closing = true;
    LIST_FOREACH (transfer, &client->transfers, link) {
        if (transfer->state != HTTP_TRANSFER_ENDED) {
            transfer->state = HTTP_TRANSFER_ENDED;
            timer_stop(transfer->timer);
        }
    }
    timer_stop(client->timer);
    loop_defer(client->loop, client_destroy, client);
}
