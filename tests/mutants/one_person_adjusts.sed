# SPDX-License-Identifier: Apache-2.0
# Maker and checker of an adjustment may be one person.
# source: shm/decide_workflow.c
# caught by: unit:engine holds
s/if (f->maker_id == f->checker_id)/if (f->maker_id == 0)/
