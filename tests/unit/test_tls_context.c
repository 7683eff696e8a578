/* SPDX-License-Identifier: Apache-2.0 */
#include "server/tls_context.h"

#include <sys/stat.h>
#include <time.h>

#include "tests/support/tls_files.h"

static TlsFiles files;
static TlsFiles others;

static void
make(void)
{
    tls_files_make(&files, 3600);
    tls_files_make(&others, 3600);
}

static void
drop(void)
{
    tls_files_remove(&files);
    tls_files_remove(&others);
}

static bool
load(const char *cert, const char *key, const char *client_ca, SSL_CTX **out, Error *err)
{
    TlsOptions options = {
        .cert_path = cert,
        .key_path = key,
        .client_ca_path = client_ca,
        .version_min = TLS_VERSION_1_2,
        .version_max = TLS_VERSION_1_3,
    };

    return tls_context_new(&options, out, err);
}

Test(tls_context, it_knows_when_its_certificate_ends, .init = make, .fini = drop)
{
    SSL_CTX *context;
    Error err;

    cr_assert(load(files.cert_path, files.key_path, files.cert_path, &context, &err), "%s",
              err.text);
    int64_t left = tls_context_expires_s(context) - (int64_t)time(NULL);
    cr_expect_gt(left, 3500);
    cr_expect_leq(left, 3600);
    tls_context_free(context);
}

Test(tls_context, files_that_do_not_do_are_refused_by_name, .init = make, .fini = drop)
{
    const struct {
        const char *cert, *key, *client_ca, *text;
    } cases[] = {
        {"/nonexistent", files.key_path, NULL, "cannot use the certificate /nonexistent: No such"},
        {files.key_path, files.key_path, NULL, "no start line"},
        {files.cert_path, "/nonexistent", NULL, "cannot use the key /nonexistent: No such"},
        {files.cert_path, files.cert_path, NULL, files.cert_path},
        {files.cert_path, others.key_path, NULL, "key values mismatch"},
        {files.cert_path, files.key_path, "/nonexistent", "cannot use the client CA"},
        {files.cert_path, files.key_path, files.key_path, "cannot use the client CA"},
    };

    for (size_t i = 0; i < DS_COUNT(cases); i++) {
        SSL_CTX *context = NULL;
        Error err = {0};

        cr_expect_not(load(cases[i].cert, cases[i].key, cases[i].client_ca, &context, &err));
        cr_expect_eq(err.code, ERR_CONFIG);
        cr_expect_not_null(strstr(err.text, cases[i].text), "%s", err.text);
        cr_expect_null(context);
    }
}

Test(tls_context, a_key_is_exposed_when_everybody_reads_it_or_the_group_writes_it, .init = make,
     .fini = drop)
{
    static const struct {
        mode_t mode;
        bool exposed;
    } cases[] = {{0600, false}, {0400, false}, {0640, false},
                 {0660, true},  {0644, true},  {0602, true}};

    for (size_t i = 0; i < DS_COUNT(cases); i++) {
        cr_assert_eq(chmod(files.key_path, cases[i].mode), 0);
        cr_expect_eq(tls_key_is_exposed(files.key_path), cases[i].exposed, "%o", cases[i].mode);
    }
    cr_expect_not(tls_key_is_exposed("/nonexistent"));
}
