/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file
 * A program that only has the options every program has, for the launcher's tests.
 */
#include "base/config.h"

int
main(int argc, char **argv)
{
	static struct hb_config config;

	return hb_config_from_arguments(&config, argc, argv, "prints a configuration") == argc ? 0
											       : 2;
}
