// SPDX-License-Identifier: GPL-2.0-or-later
// No program: this object makes the shared maps (xdp::Maps), the others take them over.
#include "ebpf/xdp/maps.bpf.h"

char LICENSE[] SEC("license") = "GPL";
