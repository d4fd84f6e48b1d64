// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
//
// bcc asks for the page size to size rings.

#define PAGE_SIZE 4096UL
