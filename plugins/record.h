/* SPDX-License-Identifier: Apache-2.0 */
/* A protobuf message becomes a record of an image: all plugins of this folder write so. */
#ifndef PLUGINS_RECORD_H
#define PLUGINS_RECORD_H

#include <crcore/plugin.h>
#include <protobuf-c/protobuf-c.h>
#include "plugins/util.h"

/* Save stage: appends the message to a section of the plugin that host and ctx belong to. */
static inline int record_put(const struct crcore_host *host, struct crcore_ctx *ctx,
                             const char *section, const ProtobufCMessage *msg,
                             struct crcore_error *err)
{
	size_t len = protobuf_c_message_get_packed_size(msg);
	cleanup_free uint8_t *bytes = malloc(len ? len : 1);

	if (!bytes)
		return crcore_no_memory(err);
	protobuf_c_message_pack(msg, bytes);
	return host->put_record(ctx, section, bytes, len, err);
}

#endif
