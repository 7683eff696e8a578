/* SPDX-License-Identifier: Apache-2.0 */
#include "server/check.h"

#include "server/http_tls.h"
#include "server/listener.h"
#include "server/manifest.h"

static bool
check_data_dir(const ServerConfig *config, Error *err)
{
    const ServerStorage *storage = &config->storage;
    int64_t shards =
        config->storage_mode == STORAGE_ACID ? storage->acid_shard_count : storage->wal_shard_count;

    return config->storage_mode == STORAGE_MEMORY ||
           data_dir_check(storage->data_dir, server_config_mode_name(config->storage_mode),
                          (uint64_t)shards, err);
}

bool
check_config(const ServerConfig *config, Error *err)
{
    if (!listener_check_host(config->bind_address, err)) {
        return error_wrap(err, "DS_SERVER__BIND_ADDRESS");
    }
    if (strcmp(config->admin_listen, "off") != 0 &&
        !listener_check_host(config->admin_listen, err)) {
        return error_wrap(err, "DS_ADMIN__LISTEN");
    }
    return http_tls_check(&config->tls, err) && check_data_dir(config, err);
}
