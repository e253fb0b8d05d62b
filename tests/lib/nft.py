# SPDX-License-Identifier: Apache-2.0
"""nftables by its library: the program nft need not be installed."""
import ctypes

import crtest


class Nft:
    def __init__(self):
        try:
            lib = ctypes.CDLL("libnftables.so.1")
        except OSError:
            raise crtest.Skip("libnftables is not installed") from None
        lib.nft_ctx_new.restype = ctypes.c_void_p
        lib.nft_ctx_get_output_buffer.restype = ctypes.c_char_p
        lib.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
        self.lib = lib
        self.ctx = ctypes.c_void_p(lib.nft_ctx_new(0))
        lib.nft_ctx_buffer_output(self.ctx)
        lib.nft_ctx_buffer_error(self.ctx)

    def run(self, text):
        rc = self.lib.nft_run_cmd_from_buffer(self.ctx, text.encode())
        out = self.lib.nft_ctx_get_output_buffer(self.ctx).decode()
        err = self.lib.nft_ctx_get_error_buffer(self.ctx).decode()
        if rc:
            raise crtest.Failure(f"nft {text}: {err}")
        return out

    def ruleset(self):
        return self.run("list ruleset")
