/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/support/tls_files.h -- a certificate that signs itself, and its key, as files.
 *
 * For the tests of TLS: included once by each of them, so everything here is its own.
 */
#pragma once

#include <criterion/criterion.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <unistd.h>

typedef struct TlsFiles {
    char cert_path[40];
    char key_path[40];
} TlsFiles;

static FILE *
tls_file_open(char *path)
{
    int fd;

    (void)snprintf(path, 40, "/tmp/ds-test-tls-XXXXXX");
    fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    return fdopen(fd, "w");
}

/* Good from a minute ago until so many seconds from now. */
static void
tls_files_make(TlsFiles *files, long seconds)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    FILE *file;

    cr_assert(ASN1_INTEGER_set(X509_get_serialNumber(cert), 1));
    cr_assert_not_null(X509_gmtime_adj(X509_getm_notBefore(cert), -60));
    cr_assert_not_null(X509_gmtime_adj(X509_getm_notAfter(cert), seconds));
    cr_assert(X509_set_pubkey(cert, key));
    cr_assert(X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                                         (const unsigned char *)"test", -1, -1, 0));
    cr_assert(X509_set_issuer_name(cert, X509_get_subject_name(cert)));
    cr_assert(X509_sign(cert, key, EVP_sha256()));
    file = tls_file_open(files->cert_path);
    cr_assert(PEM_write_X509(file, cert));
    cr_assert_eq(fclose(file), 0);
    file = tls_file_open(files->key_path);
    cr_assert(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL));
    cr_assert_eq(fclose(file), 0);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static void
tls_files_remove(const TlsFiles *files)
{
    cr_expect_eq(unlink(files->cert_path), 0);
    cr_expect_eq(unlink(files->key_path), 0);
}
