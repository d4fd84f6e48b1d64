// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// Empty on purpose: bcc asks for it, kconfig.h and bcc's own bpf.h have what is needed.
