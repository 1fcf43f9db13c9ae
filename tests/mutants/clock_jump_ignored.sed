# SPDX-License-Identifier: Apache-2.0
# A clock that jumps does not stop money.
# source: dataplane/ledger_clock.c
# caught by: unit:dataplane parts
s/apart_ns > step_ns || apart_ns < -step_ns/apart_ns > step_ns * 1000000/
