/* SPDX-License-Identifier: Apache-2.0 */
/* libnftables as it is on a kernel without nf_tables: it is there, and whatever it is told fails. */
#include <stdint.h>

struct nft_ctx { char nothing; };
#define SEEN __attribute__((visibility("default")))

SEEN struct nft_ctx *nft_ctx_new(uint32_t flags);
SEEN void nft_ctx_free(struct nft_ctx *ctx);
SEEN int nft_ctx_buffer_output(struct nft_ctx *ctx);
SEEN int nft_ctx_buffer_error(struct nft_ctx *ctx);
SEEN const char *nft_ctx_get_error_buffer(struct nft_ctx *ctx);
SEEN int nft_run_cmd_from_buffer(struct nft_ctx *ctx, const char *text);

static struct nft_ctx only;

struct nft_ctx *nft_ctx_new(uint32_t flags) { return &only; }
void nft_ctx_free(struct nft_ctx *ctx) {}
int nft_ctx_buffer_output(struct nft_ctx *ctx) { return 0; }
int nft_ctx_buffer_error(struct nft_ctx *ctx) { return 0; }
const char *nft_ctx_get_error_buffer(struct nft_ctx *ctx)
{
	return "Error: Could not process rule: Protocol not supported\n";
}
int nft_run_cmd_from_buffer(struct nft_ctx *ctx, const char *text) { return -1; }
