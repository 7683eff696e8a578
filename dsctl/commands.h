/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dsctl/commands.h -- the command tables of each group, and the commands that stand in another file
 * than their table.
 */
#pragma once

#include "common/cli.h"

extern const Command stream_commands[];
extern const Option stream_append_options[];
extern const Option stream_read_options[];
extern const Option stream_tail_options[];
extern const char stream_append_details[];
extern const char stream_read_details[];
extern const char stream_tail_details[];
int cmd_stream_append(const CliCall *cli);
int cmd_stream_read(const CliCall *cli);
int cmd_stream_tail(const CliCall *cli);

extern const Command sync_commands[];
extern const Option sync_reset_options[];
extern const Option sync_retry_options[];
extern const Option sync_skip_options[];
extern const char sync_reset_details[];
extern const char sync_retry_details[];
extern const char sync_skip_details[];
int cmd_sync_reset(const CliCall *cli);
int cmd_sync_retry(const CliCall *cli);
int cmd_sync_skip(const CliCall *cli);
extern const Command dlq_commands[];
extern const Option dlq_purge_options[];
extern const Option dlq_replay_options[];
extern const Option dlq_rm_options[];
extern const char dlq_replay_details[];
extern const char dlq_rm_details[];
int cmd_dlq_purge(const CliCall *cli);
int cmd_dlq_replay(const CliCall *cli);
int cmd_dlq_rm(const CliCall *cli);
extern const Command db_commands[];
extern const Option db_prune_options[];
extern const char db_prune_details[];
int cmd_db_prune(const CliCall *cli);
extern const Command lease_commands[];
extern const Option lease_repartition_options[];
extern const char lease_repartition_details[];
int cmd_lease_repartition(const CliCall *cli);

extern const Command route_commands[];
extern const Option route_apply_options[];
extern const char route_apply_details[];
int cmd_route_apply(const CliCall *cli);
