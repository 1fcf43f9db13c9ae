# SPDX-License-Identifier: Apache-2.0
# The commitment does not name the algorithm.
# source: shm/split.c
# caught by: unit:engine split
s/SHA256_Update(&sha, &algorithm, sizeof(algorithm));//
