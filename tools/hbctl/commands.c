/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one table of verbs. Help, the manual text, suggestions for misspelt words and shell
 * completion are all made from it, so a verb cannot exist without its help. Constant data only.
 */
#include <string.h>

#include "base/assert.h"
#include "tools/hbctl/hbctl.h"

#define LETTERS_MAX 32 /* longer words get no suggestion */
#define HELP_COLUMN 44 /* where the summaries begin */
#define WORDS_MAX   64 /* of a line to complete */

const struct hbctl_option hbctl_global_options[] = {
	{"-c", "FILE", false,
		"configuration; default $HB_CONFIG, ./run/etc/hongbao.conf, "
		"/etc/hongbao/hongbao.conf, /var/lib/hongbao/etc/hongbao.conf"},
	{"-o", "KEY=VALUE", true, "override one option of the configuration"},
	{"--json", NULL, false, "answer with one JSON object a line (docs/hbctl.md)"},
	{"--help", NULL, false, "this list, or with a verb its help"},
	{"-h", NULL, false, "the same"},
	{"--version", NULL, false, "version of this program"},
	{NULL, NULL, false, NULL},
};

static const struct hbctl_option top_options[] = {
	{"--count", "N", false, "end after N views; without it, with Ctrl-C"},
	{"--interval", "TIME", false, "between views, whole seconds; default 1s"},
	{NULL, NULL, false, NULL},
};

static const struct hbctl_option token_user_options[] = {
	{"--group", "NUMBER", true, "a group the user belongs to; may be repeated"},
	{"--enterprise", "NUMBER", false, "enterprise of the user"},
	{"--ttl", "TIME", false, "how long it is good: 90s, 15m, 1h, 7d; default 1h"},
	{"--kid", "NAME", false, "key to sign with; default the first HS256 key"},
	{NULL, NULL, false, NULL},
};

static const struct hbctl_option order_options[] = {
	{"--account", "N", false, "whose order it is: ask the engine first"},
	{NULL, NULL, false, NULL},
};

static const struct hbctl_option packet_verify_options[] = {
	{"--detail", "FILE", false, "check this saved detail, - for standard input"},
	{NULL, NULL, false, NULL},
};

static const struct hbctl_option check_options[] = {
	{"--offline", NULL, false, "without the dataplane: journal and MySQL only"},
	{"--journal-only", NULL, false, "do not compare with MySQL either"},
	{NULL, NULL, false, NULL},
};

static const struct hbctl_option dump_options[] = {
	{"--from", "SEQ", false, "first journal sequence; default the oldest there is"},
	{"--to", "SEQ", false, "last journal sequence; default the newest"},
	{"--packet", "ID", false, "only records that name this packet"},
	{"--account", "N", false, "only records that name this account"},
	{"--type", "TYPE", false, "only records of this type, such as GRAB"},
	{NULL, NULL, false, NULL},
};

#define CASE_OPTIONS                                                                               \
	{"--reason", "TEXT", false, "why, in words; kept with the case"},                          \
		{"--operator", "NAME", false,                                                      \
			"who does it, where neither the login nor sudo says it"},                  \
	{                                                                                          \
		"--key", "TEXT", false, "of an earlier try: it does nothing twice"                 \
	}

static const struct hbctl_option case_options[] = {
	CASE_OPTIONS,
	{NULL, NULL, false, NULL},
};

static const struct hbctl_option hold_make_options[] = {
	CASE_OPTIONS,
	{"--kind", "KIND", false, "withdrawal (default) or channel-refund"},
	{"--lifetime", "TIME", false, "until it is void by itself: 90s, 15m, 1h, 7d; default 7d"},
	{NULL, NULL, false, NULL},
};

static const struct hbctl_option hold_post_options[] = {
	CASE_OPTIONS,
	{"--channel", "NAME", false, "that paid: manual (default), wechat, alipay, 99bill"},
	{"--reference", "TEXT", false, "the channel's number of the payment"},
	{"--fee", "YUAN", false, "of the amount, kept as fee"},
	{NULL, NULL, false, NULL},
};

static const struct hbctl_option adjust_options[] = {
	CASE_OPTIONS,
	{"--within", "TIME", false,
		"how long it may wait for its approval; default 1d, at most 7d"},
	{NULL, NULL, false, NULL},
};

static const struct hbctl_option approve_options[] = {
	{"--operator", "NAME", false, "who does it, where neither the login nor sudo says it"},
	{NULL, NULL, false, NULL},
};

static const struct hbctl_option cases_options[] = {
	{"--account", "NUMBER", false, "that pays or gets"},
	{"--hold", "ID", false, "of this hold"},
	{"--order", "NUMBER", false, "that made this order"},
	{"--state", "STATE", false, "asked, ordered, done, refused or withdrawn"},
	{"--before", "NUMBER", false, "older than this case"},
	{"--limit", "N", false, "1..100, default 20"},
	{NULL, NULL, false, NULL},
};

static const struct hbctl_option hold_list_options[] = {
	{"--before", "CURSOR", false, "go on behind an earlier page"},
	{"--limit", "N", false, "1..50, default 20"},
	{NULL, NULL, false, NULL},
};

static const struct hbctl_option orders_options[] = {
	{"--account", "NUMBER", false, "of this account only"},
	{"--page", "N", false, "from 1, the default"},
	{"--page-size", "N", false, "1..100, default 20"},
	{"--before", "CURSOR", false, "older than where an earlier page ended"},
	{NULL, NULL, false, NULL},
};

static const struct hbctl_option import_options[] = {
	{"--dry-run", NULL, false, "read and check the file, send nothing"},
	{NULL, NULL, false, NULL},
};

static const struct hbctl_option backup_options[] = {
	{"--without-keys", NULL, false, "leave the secrets of key/ out"},
	{"--with-ledger", NULL, false, "MySQL's rows too, though the journal is complete"},
	{NULL, NULL, false, NULL},
};

static const struct hbctl_option trace_options[] = {
	{"--since", "TIME", false, "of an account: only the last 90s, 15m, 1h, 7d"},
	{NULL, NULL, false, NULL},
};

static const struct hbctl_option restore_options[] = {
	{"--force", NULL, false, "the same journal is there: it goes aside, named anew"},
	{NULL, NULL, false, NULL},
};

static const struct hbctl_option degrade_options[] = {
	{"--for", "TIME", false,
		"then automatic again: 90s, 15m, 1h, at most 1d; default: for ever"},
	{NULL, NULL, false, NULL},
};

const struct hbctl_command hbctl_commands[] = {
	{
		.name = "status",
		.arguments = "",
		.summary = "how the node is: processes, journal, MySQL, storage, clock",
		.details =
			"Asks the dataplane, persist, control, nginx and MySQL each on its own\n"
			"socket and says which of them do not answer. T_sync is the time of one\n"
			"journal write. Lag is how many records MySQL is behind the journal.\n"
			"Exit 1 when something is down or stopped, 3 when nothing answers.",
		.example = "hbctl status\nhbctl status --json | jq .journal.committed_seq",
		.needs_node = true,
		.run = hbctl_run_status,
	},
	{
		.name = "top",
		.arguments = "",
		.summary = "live view: rates, lcores, commit latency, lag",
		.details = "Refreshed every second. On a terminal the view is redrawn in place,\n"
			   "elsewhere the views follow each other; with --json one object a view.\n"
			   "When the dataplane goes away the view says so and attaches again.",
		.example = "hbctl top\nhbctl top --count 1 --json",
		.options = top_options,
		.needs_node = true,
		.run = hbctl_run_top,
	},
	{
		.name = "token user",
		.arguments = "ACCOUNT",
		.summary = "sign a user token (JWT) for trying the HTTP API out",
		.details =
			"Signs with a secret of key/jwt.keys, so the front believes it. For an\n"
			"EdDSA key only the public part is on the node: its tokens come from the\n"
			"business system. Prints the token alone, ready for a header.",
		.example = "T=$(hbctl token user 1001 --group 7)\n"
			   "curl -H \"Authorization: Bearer $T\" http://127.0.0.1:8080/v1/balance",
		.options = token_user_options,
		.needs_node = true,
		.run = hbctl_run_token_user,
	},
	{
		.name = "token money",
		.arguments = "ACCOUNT OPERATION [TARGET]",
		.summary = "issue a money token and its initial sequence",
		.details =
			"OPERATION is grab, send or transfer. TARGET is the packet to grab; send\n"
			"and transfer have the account itself as target. The first request uses\n"
			"the initial sequence plus one, each further one the next.",
		.example =
			"hbctl token money 1001 send\nhbctl token money 1002 grab 0110000000000001",
		.needs_node = true,
		.run = hbctl_run_token_money,
	},
	{
		.name = "account",
		.arguments = "ACCOUNT",
		.summary = "balance of an account, and whether it is frozen",
		.details = "From the engine; MySQL when the dataplane does not answer.\n"
			   "The answer says where it comes from and up to which journal sequence.",
		.example = "hbctl account 1001",
		.needs_node = true,
		.run = hbctl_run_account,
	},
	{
		.name = "account freeze",
		.arguments = "ACCOUNT",
		.summary = "bar the debits of an account",
		.details =
			"Sending, transfers, holds and payouts are answered account_frozen from\n"
			"then on; what others pay still comes in, and a packet already sent can\n"
			"be grabbed. Freezing what is frozen changes nothing.",
		.example = "hbctl account freeze 1001 --reason 'stolen phone, ticket 4711'",
		.options = case_options,
		.needs_node = true,
		.run = hbctl_run_account_freeze,
	},
	{
		.name = "account unfreeze",
		.arguments = "ACCOUNT",
		.summary = "let an account pay again",
		.details = "The opposite of 'account freeze'.",
		.example = "hbctl account unfreeze 1001 --reason 'owner identified, ticket 4711'",
		.options = case_options,
		.needs_node = true,
		.run = hbctl_run_account_unfreeze,
	},
	{
		.name = "hold make",
		.arguments = "ACCOUNT YUAN",
		.summary = "set money of an account aside that is to go out",
		.details =
			"Takes it from the available balance into the frozen one, and makes the\n"
			"order of the withdrawal. It ends by 'hold post' or 'hold void', or by\n"
			"itself at its deadline when nothing was sent. Tells the counters of the\n"
			"account's day.",
		.example = "hbctl hold make 1001 250.00 --lifetime 2d --reason 'payout by hand'",
		.options = hold_make_options,
		.needs_node = true,
		.run = hbctl_run_hold_make,
	},
	{
		.name = "hold post",
		.arguments = "HOLD",
		.summary = "the held money was paid out",
		.details =
			"For money that a person has paid through a channel. The order is taken\n"
			"through the steps that are left (approved, sending), then the hold is\n"
			"posted. Interrupted anywhere, it is finished by the same command or by\n"
			"the job unfinished-cases. Refused after the deadline, for a frozen\n"
			"account, and when the order was sent through another channel.",
		.example = "hbctl hold post 0210000000000001 --reference 20261125-7 --reason paid",
		.options = hold_post_options,
		.needs_node = true,
		.run = hbctl_run_hold_post,
	},
	{
		.name = "hold void",
		.arguments = "HOLD",
		.summary = "the held money was certainly not paid out: give it back",
		.details =
			"An order that was sent becomes failed, one that was not, invalid. A hold\n"
			"has one end: after 'post' this is refused.",
		.example = "hbctl hold void 0210000000000001 --reason 'bank refused the card'",
		.options = case_options,
		.needs_node = true,
		.run = hbctl_run_hold_void,
	},
	{
		.name = "hold show",
		.arguments = "HOLD",
		.summary = "a hold, its deadline and the counters of its day",
		.details = "From the engine. A hold that has ended is forgotten after\n"
			   "capacity.retention_s; its order says how it ended.",
		.example = "hbctl hold show 0210000000000001",
		.needs_node = true,
		.run = hbctl_run_hold_show,
	},
	{
		.name = "hold list",
		.arguments = "ACCOUNT",
		.summary = "the holds of an account, the newest first",
		.details =
			"Orders of withdrawals and refunds from MySQL, with their holds as far as\n"
			"they are in memory.",
		.example = "hbctl hold list 1001",
		.options = hold_list_options,
		.needs_node = true,
		.run = hbctl_run_hold_list,
	},
	{
		.name = "adjust ask",
		.arguments = "FROM TO YUAN",
		.summary = "ask for a correcting entry, which another operator approves",
		.details = "FROM and TO are accounts; at least one of them is the node's own: "
			   "suspense,\n"
			   "fees, clearing_manual, clearing_wechat, clearing_alipay, "
			   "clearing_99bill,\n"
			   "of the other's partition or of the one named (suspense/3). Prints the\n"
			   "number of the case; nothing is done before 'hbctl approve NUMBER'.",
		.example = "hbctl adjust ask suspense 1001 12.50 --reason 'credit of 3 May lost'",
		.options = adjust_options,
		.needs_node = true,
		.run = hbctl_run_adjust_ask,
	},
	{
		.name = "approve",
		.arguments = "NUMBER",
		.summary = "approve what another operator asked for; then it is done",
		.details = "Refused to who asked, to root without a name, and when the time for it "
			   "is\n"
			   "over. Both names are in the journal's record.",
		.example = "hbctl case 12 && hbctl approve 12",
		.options = approve_options,
		.needs_node = true,
		.run = hbctl_run_approve,
	},
	{
		.name = "withdraw",
		.arguments = "NUMBER",
		.summary = "take back what waits for an approval",
		.details = "Every operator may. Nothing was done, and nothing will be.",
		.example = "hbctl withdraw 12",
		.options = approve_options,
		.needs_node = true,
		.run = hbctl_run_withdraw,
	},
	{
		.name = "case",
		.arguments = "NUMBER",
		.summary = "one command of an operator: why, by whom, what became of it",
		.details =
			"Every freeze, hold, post, void and adjustment is a case. The journal's\n"
			"records have its number, 'hbctl trace' shows both.",
		.example = "hbctl case 12",
		.needs_node = true,
		.run = hbctl_run_case,
	},
	{
		.name = "cases",
		.arguments = "",
		.summary = "commands of operators, the newest first",
		.details = "Without options the last 20.",
		.example = "hbctl cases --state asked\nhbctl cases --account 1001",
		.options = cases_options,
		.needs_node = true,
		.run = hbctl_run_cases,
	},
	{
		.name = "import accounts",
		.arguments = "FILE",
		.summary = "open the accounts of a CSV file",
		.details =
			"The first line names the columns: account, kind (user or enterprise; may\n"
			"be left out). Quotes, commas, line ends and a byte order mark as in\n"
			"RFC 4180. The whole file is checked first. Bad lines, and those that the\n"
			"node refuses, go into FILE.errors.csv with the reason; corrected there,\n"
			"that file can be imported. Interrupted anywhere, also by Ctrl-C, the "
			"same\n"
			"command goes on and does nothing twice. Exit 1 when a row is left over.",
		.example = "hbctl import accounts users.csv --dry-run\n"
			   "hbctl import accounts users.csv",
		.options = import_options,
		.needs_node = true,
		.run = hbctl_run_import_accounts,
	},
	{
		.name = "import credits",
		.arguments = "FILE",
		.summary = "book the credits of a CSV file",
		.details =
			"Columns: key, account, amount_fen, channel (manual; may be left out). "
			"The\n"
			"key is what makes a row safe to repeat: 1..56 characters, not twice in a\n"
			"file and not for another row of another file. FILE.import keeps when the\n"
			"file was begun: six days later it is refused, as the node forgets keys\n"
			"after seven. The rest as in 'import accounts'.",
		.example =
			"hbctl import credits bonus.csv --dry-run\nhbctl import credits bonus.csv",
		.options = import_options,
		.needs_node = true,
		.run = hbctl_run_import_credits,
	},
	{
		.name = "packet",
		.arguments = "ID",
		.summary = "a packet with its claims",
		.details = "ID is 16 hexadecimal digits. From the engine while it is in memory,\n"
			   "from MySQL afterwards. Seed and luckiest share are "
			   "shown once it is\n"
			   "sold out or closed.",
		.example = "hbctl packet 0110000000000001",
		.needs_node = true,
		.run = hbctl_run_packet,
	},
	{
		.name = "packet verify",
		.arguments = "[ID]",
		.summary = "recompute the shares of a packet that is over",
		.details =
			"ID is a packet or an order of one. Computes the commitment and every\n"
			"share from the seed and the terms (docs/fairness.md), and compares them\n"
			"with what the detail tells: match, or differs at which position, from 0.\n"
			"With --detail a file is checked: the answer of the HTTP API or of hbctl\n"
			"packet --json, all pages one after the other. tools/verify-packet does\n"
			"the same without this program. Exit 1 when something differs, and while\n"
			"the packet is open, as its seed is not revealed yet.",
		.example = "hbctl packet verify 0110000000000001\n"
			   "hbctl packet verify --detail saved.json",
		.options = packet_verify_options,
		.needs_node = true,
		.run = hbctl_run_packet_verify,
	},
	{
		.name = "order",
		.arguments = "NUMBER",
		.summary = "an order, and what its number says",
		.details =
			"NUMBER is 32 digits: business, version, node, allocator, user digits, "
			"time\n"
			"and sequence. They are decoded in any case; the order itself comes from\n"
			"MySQL. The engine has recharge orders, too: name their\n"
			"account and it is asked first.",
		.example = "hbctl order 10107126124202611231635016300000\n"
			   "hbctl order 10107126124202611231635016300000 --account 1001",
		.options = order_options,
		.needs_node = true,
		.run = hbctl_run_order,
	},
	{
		.name = "orders",
		.arguments = "",
		.summary = "orders of everybody or of one account, the newest first",
		.details =
			"From MySQL: all 16 tables merged, or the one of the account. Pages are "
			"by\n"
			"number as far as row 5000; behind it --before CURSOR, which every page\n"
			"tells, goes on, and pages count from there. With the cursor of one "
			"moment\n"
			"pages stay the same while new orders come.",
		.example = "hbctl orders --page 3 --page-size 50\nhbctl orders --account 1001",
		.options = orders_options,
		.needs_node = true,
		.run = hbctl_run_orders,
	},
	{
		.name = "check",
		.arguments = "",
		.summary = "prove that engine, journal and MySQL agree to the fen",
		.details =
			"Marks every partition, audits the engine's memory, stops the appliers at\n"
			"one journal sequence, replays the journal up to it, proves the "
			"invariants\n"
			"and compares every row of MySQL; then the appliers go on, also after\n"
			"Ctrl-C. The node keeps serving all the time.\n"
			"With --offline the engine is not asked; when persist is down too, the "
			"cut\n"
			"is where MySQL stands. Exit 1 when anything is wrong.",
		.example = "hbctl check\nhbctl check --json | jq .violations",
		.options = check_options,
		.needs_node = true,
		.run = hbctl_run_check,
	},
	{
		.name = "journal verify",
		.arguments = "[DIR]",
		.summary = "walk a journal and name the first bad byte",
		.details = "Checks every frame, the SHA-256 chain, every record's CRC and all "
			   "numbers,\n"
			   "in raw and packed segments, as recovery does. DIR is a journal "
			   "directory,\n"
			   "by default the node's. May run beside a living node.",
		.example = "hbctl journal verify\nhbctl journal verify /backup/journal --json",
		.needs_node = false,
		.run = hbctl_run_journal_verify,
	},
	{
		.name = "journal dump",
		.arguments = "[DIR]",
		.summary = "print journal records, one a line",
		.details =
			"A line is: sequence, ring/core sequence, time, type, fields. Fields that\n"
			"are zero are left out. With --json one object a line.",
		.example = "hbctl journal dump --packet 0110000000000001\n"
			   "hbctl journal dump /backup/journal --type GRAB --json | jq .amount_fen",
		.options = dump_options,
		.needs_node = false,
		.run = hbctl_run_journal_dump,
	},
	{
		.name = "trace",
		.arguments = "ORDER|PACKET|USER",
		.summary = "everything recorded about one order, packet, hold or account",
		.details =
			"An order number, the 16 hexadecimal digits of a packet or hold, or an\n"
			"account. Prints every record in journal order with time, amounts, order\n"
			"numbers, and the request it came from (money token, idempotency key), "
			"and\n"
			"under each the rows it made in MySQL. For an account also the grabs from\n"
			"its packets. Reads the whole journal. Exit 1 when there is nothing.",
		.example = "hbctl trace 0110000000000001\nhbctl trace 1001 --since 1h\n"
			   "hbctl trace 20107126124202611231635016300000 --json",
		.options = trace_options,
		.needs_node = true,
		.run = hbctl_run_trace,
	},
	{
		.name = "applier resume",
		.arguments = "",
		.summary = "let stopped appliers go on writing to MySQL",
		.details = "Needed only when a 'check' was killed before it could do so itself.",
		.example = "hbctl applier resume",
		.needs_node = true,
		.run = hbctl_run_applier_resume,
	},
	{
		.name = "mysql status",
		.arguments = "",
		.summary = "MySQL servers, their shards and lag, and the work under way",
		.details = "The shard map in force, and where mysql.shards says otherwise.\n"
			   "Lag is in records, and in milliseconds since a server was level.",
		.example = "hbctl mysql status",
		.needs_node = true,
		.run = hbctl_run_mysql_status,
	},
	{
		.name = "mysql move-shard",
		.arguments = "SHARD SERVER",
		.summary = "move a shard's rows to another MySQL server",
		.details =
			"The appliers of both servers stand at one sequence while the rows are\n"
			"copied, counted and compared; the other servers and all grabs go on.\n"
			"Then the map is stored, and the old rows are cleared. persist does it:\n"
			"Ctrl-C ends only the looking on. Given again after any interruption, it\n"
			"does what is left to do.",
		.example = "hbctl mysql move-shard 5 b",
		.needs_node = true,
		.run = hbctl_run_mysql_move_shard,
	},
	{
		.name = "mysql rebuild",
		.arguments = "SERVER",
		.summary = "empty a MySQL server and fill it again from the journal",
		.details =
			"Refused when the journal does not reach back to its first record.\n"
			"Grabs and the other servers go on; until the end, lists of this server's\n"
			"shards are incomplete, and say up to which sequence they are complete.",
		.example = "hbctl mysql rebuild main",
		.needs_node = true,
		.run = hbctl_run_mysql_rebuild,
	},
	{
		.name = "mysql checksum",
		.arguments = "",
		.summary = "number and hash of the rows of every table",
		.details =
			"The hash does not depend on the order of rows nor on the server they are\n"
			"at: equal before and after a move or a rebuild when nothing was written\n"
			"meanwhile. Reads all rows of all servers.",
		.example = "hbctl mysql checksum --json | jq .tables",
		.needs_node = true,
		.run = hbctl_run_mysql_checksum,
	},
	{
		.name = "snapshot",
		.arguments = "",
		.summary = "make a snapshot now",
		.details =
			"Runs 'hongbao-persist snapshot' as the persist user: last snapshot plus\n"
			"journal up to the last mark, compared with the dataplane's state hash,\n"
			"written and verified. The node keeps running.",
		.example = "hbctl snapshot",
		.needs_node = true,
		.run = hbctl_run_snapshot,
	},
	{
		.name = "snapshot list",
		.arguments = "",
		.summary = "the snapshots of the node",
		.details = "Names, sizes and times as they lie in journal/snapshot.",
		.example = "hbctl snapshot list --json",
		.needs_node = true,
		.run = hbctl_run_snapshot_list,
	},
	{
		.name = "backup",
		.arguments = "DIR",
		.summary = "copy journal, keys and configuration, at one sequence",
		.details =
			"Makes DIR/backup-<sequence>, beside a living node or a stopped one. The\n"
			"journal ends at the cut, what was committed when the backup began; the "
			"copy\n"
			"is read again as recovery reads it. manifest.json is written last: with "
			"it\n"
			"the backup is whole. A further backup into DIR shares the packed "
			"segments\n"
			"of the one before. When the journal's oldest segments are gone, MySQL's\n"
			"rows at the cut are in it too.",
		.example = "hbctl backup /backup/hongbao\n"
			   "hbctl backup /backup/hongbao --json | jq .cut_seq",
		.options = backup_options,
		.needs_node = true,
		.run = hbctl_run_backup,
	},
	{
		.name = "backup verify",
		.arguments = "DIR",
		.summary = "compare a backup with its manifest, read its journal",
		.details = "DIR is a backup, or holds backups: then the newest whole one is taken.",
		.example = "hbctl backup verify /backup/hongbao",
		.needs_node = false,
		.run = hbctl_run_backup_verify,
	},
	{
		.name = "restore",
		.arguments = "DIR",
		.summary = "make a stopped node's journal and keys from a backup",
		.details =
			"DIR as in 'backup verify'. The node is the one of the configuration: it\n"
			"must be down, have the node.number of the backup and no journal of its "
			"own.\n"
			"Every file is verified before anything is changed; an interrupted "
			"restore\n"
			"is repeated by the same command. MySQL is filled from the journal after\n"
			"'./hongbao up'. The node of the backup must never start again.",
		.example =
			"hbctl -c new.conf restore /backup/hongbao\n./hongbao up --config new.conf",
		.options = restore_options,
		.needs_node = true,
		.run = hbctl_run_restore,
	},
	{
		.name = "mark",
		.arguments = "",
		.summary = "write every partition's state hash into the journal",
		.details = "Returns when the marks are committed. Recovery, snapshots and 'check'\n"
			   "compare what they replayed with these hashes.",
		.example = "hbctl mark",
		.needs_node = true,
		.run = hbctl_run_mark,
	},
	{
		.name = "clock status",
		.arguments = "",
		.summary = "the clock, and whether money operations wait for an operator",
		.details =
			"A jump of the clock larger than clock.step_ms_max, or a gap larger than\n"
			"clock.gap_s_max, stops money operations. Exit 1 while they are stopped.",
		.example = "hbctl clock status",
		.needs_node = true,
		.run = hbctl_run_clock_status,
	},
	{
		.name = "clock confirm",
		.arguments = "",
		.summary = "confirm the clock: money operations go on",
		.details =
			"Look at the time first ('date'): orders and deadlines follow the clock\n"
			"that is confirmed here.",
		.example = "hbctl clock status && hbctl clock confirm",
		.needs_node = true,
		.run = hbctl_run_clock_confirm,
	},
	{
		.name = "jobs",
		.arguments = "",
		.summary = "scheduled jobs of control and their last runs",
		.details = "What control's job frame knows about each job.",
		.example = "hbctl jobs",
		.needs_node = true,
		.run = hbctl_run_jobs,
	},
	{
		.name = "job run",
		.arguments = "NAME",
		.summary = "run a job now",
		.details = "The job runs in control under its usual lock. 'hbctl jobs' names them.",
		.example = "hbctl job run expired-not-refunded",
		.needs_node = true,
		.run = hbctl_run_job,
	},
	{
		.name = "counters",
		.arguments = "",
		.summary = "every counter of dataplane and persist",
		.details = "Sums since the process started, with what they count.",
		.example = "hbctl counters --json | jq .dataplane.grabs",
		.needs_node = true,
		.run = hbctl_run_counters,
	},
	{
		.name = "config",
		.arguments = "[KEY]",
		.summary = "the configuration in effect, or one value of it",
		.details =
			"Default, file, environment and -o together. Without KEY it is printed as\n"
			"a configuration file with every option explained.",
		.example = "hbctl config\nhbctl config front.listen",
		.needs_node = false,
		.run = hbctl_run_config,
	},
	{
		.name = "doctor",
		.arguments = "",
		.summary = "look at machine and node, and say what to do about what is wrong",
		.details =
			"CPU, memory, huge pages, clock, limits, ports; the journal's disk, with "
			"the\n"
			"time of a durable write and the days of room left; users, folders, keys,\n"
			"MySQL's durability, nginx's module. Changes nothing. Without a node only\n"
			"the machine is looked at. Exit 1 when something is wrong; warnings alone\n"
			"exit 0.",
		.example =
			"hbctl doctor\nhbctl doctor --json | jq '.checks[]|select(.state!=\"ok\")'",
		.needs_node = false,
		.run = hbctl_run_doctor,
	},
	{
		.name = "config reload",
		.arguments = "",
		.summary = "let the running node take over changed options",
		.details =
			"Control, persist and dataplane read etc/hongbao.conf again. Says of "
			"every\n"
			"option that differs whether it is in force now or needs a restart; "
			"nginx's\n"
			"are taken by './hongbao reload'. A file with an error changes nothing.\n"
			"Exit 1 when a process did not take it.",
		.example = "hbctl config reload\nhbctl config reload --json | jq .changes",
		.needs_node = true,
		.run = hbctl_run_config_reload,
	},
	{
		.name = "key rotate",
		.arguments = "NAME",
		.summary = "a new key for money tokens; tokens of the old one stay good",
		.details = "NAME is token: writes key/money-token.key anew. The new key signs, the "
			   "old\n"
			   "one verifies until its last token has expired. The running dataplane "
			   "takes it over.\n"
			   "At most three old keys are kept, so four rotations take an hour.",
		.example = "hbctl key rotate token",
		.needs_node = true,
		.run = hbctl_run_key_rotate,
	},
	{
		.name = "degrade",
		.arguments = "[LEVEL]",
		.summary = "what the node leaves out to keep grabs alive; choose it",
		.details =
			"LEVEL is normal, no-lists, no-push (and no lists), no-new-packets (and\n"
			"neither of them), or auto: control decides by storage, lag and overload.\n"
			"An operator's level counts instead of the measured one. Grabs are never\n"
			"off by a level. Without LEVEL the one in force is shown.",
		.example = "hbctl degrade\nhbctl degrade no-lists --for 10m\nhbctl degrade auto",
		.options = degrade_options,
		.needs_node = true,
		.run = hbctl_run_degrade,
	},
	{
		.name = "alarms",
		.arguments = "",
		.summary = "what is in alarm, and what was raised or cleared lately",
		.details =
			"Control measures the rules of docs/operations.md and sends every change\n"
			"to alarm.webhook. Exit 1 while something is in alarm.",
		.example = "hbctl alarms\nhbctl alarms --json | jq '.active[].rule'",
		.needs_node = true,
		.run = hbctl_run_alarms,
	},
	{
		.name = "alarms test",
		.arguments = "",
		.summary = "send a test alarm to alarm.webhook and wait until it is taken",
		.details = "Exit 1 when there is no webhook, or the receiver does not take it in\n"
			   "8 s; then it is tried again as any alarm is.",
		.example = "hbctl alarms test",
		.needs_node = true,
		.run = hbctl_run_alarms_test,
	},
	{
		.name = "help",
		.arguments = "[VERB] [SECOND]",
		.summary = "help of a verb; 'help all' is the whole manual",
		.details = "",
		.example = "hbctl help check\nhbctl help all | less",
		.needs_node = false,
		.run = hbctl_run_help,
	},
	{.name = NULL},
};

const struct hbctl_command *
hbctl_command_find(const char *name)
{
	for (const struct hbctl_command *c = hbctl_commands; c->name != NULL; c++) {
		if (strcmp(c->name, name) == 0)
			return c;
	}
	return NULL;
}

static bool
begins_with_word(const char *name, const char *word)
{
	size_t length = strlen(word);

	return strncmp(name, word, length) == 0 && name[length] == ' ';
}

bool
hbctl_is_group(const char *word)
{
	for (const struct hbctl_command *c = hbctl_commands; c->name != NULL; c++) {
		if (begins_with_word(c->name, word))
			return true;
	}
	return false;
}

static unsigned
min3(unsigned a, unsigned b, unsigned c)
{
	unsigned least = a < b ? a : b;

	return least < c ? least : c;
}

/* Insertions, deletions, changes and swaps of neighbours that turn one word into the other. */
static unsigned
distance(const char *a, const char *b)
{
	unsigned row[3][LETTERS_MAX + 1];
	unsigned *before = row[0], *last = row[1], *now = row[2];
	size_t a_length = strlen(a), b_length = strlen(b);

	if (a_length > LETTERS_MAX || b_length > LETTERS_MAX)
		return LETTERS_MAX;
	for (unsigned j = 0; j <= b_length; j++)
		last[j] = j;
	for (unsigned i = 1; i <= a_length; i++) {
		unsigned *spare = before;

		now[0] = i;
		for (unsigned j = 1; j <= b_length; j++) {
			unsigned change = a[i - 1] == b[j - 1] ? 0 : 1;

			now[j] = min3(last[j] + 1, now[j - 1] + 1, last[j - 1] + change);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
				before[j - 2] + 1 < now[j])
				now[j] = before[j - 2] + 1;
		}
		before = last;
		last = now;
		now = spare;
	}
	return last[b_length];
}

const char *
hbctl_suggest(const char *name)
{
	static char group[HBCTL_NAME_BYTES];
	size_t length = strlen(name);
	unsigned best = length < 4 ? 1 : 2;
	const char *meant = NULL;

	for (const struct hbctl_command *c = hbctl_commands; c->name != NULL; c++) {
		const char *space = strchr(c->name, ' ');
		unsigned letters = distance(name, c->name);

		if (letters <= best && (meant == NULL || letters < best)) {
			best = letters;
			meant = c->name;
		}
		if (space == NULL || strchr(name, ' ') != NULL)
			continue;
		char first[HBCTL_NAME_BYTES];

		snprintf(first, sizeof(first), "%.*s", (int)(space - c->name), c->name);
		letters = distance(name, first);
		if (letters <= best && (meant == NULL || letters < best)) {
			best = letters;
			memcpy(group, first, sizeof(group));
			meant = group;
		}
	}
	return meant;
}

void
hbctl_arity(const struct hbctl_command *command, int *min, int *max)
{
	const char *at = command->arguments;

	*min = *max = 0;
	while (*at != '\0') {
		size_t length = strcspn(at, " ");

		(*max)++;
		if (*at != '[')
			(*min)++;
		at += length + strspn(at + length, " ");
	}
	HB_ASSERT(*max <= HBCTL_POSITIONAL_MAX);
}

static void
print_option(const struct hbctl_option *option, FILE *out)
{
	char left[HBCTL_NAME_BYTES];

	snprintf(left, sizeof(left), "%s%s%s", option->name, option->value == NULL ? "" : " ",
		option->value == NULL ? "" : option->value);
	fprintf(out, "  %-*s %s\n", HELP_COLUMN - 3, left, option->help);
}

static void
print_indented(const char *text, FILE *out)
{
	while (*text != '\0') {
		size_t length = strcspn(text, "\n");

		fprintf(out, "  %.*s\n", (int)length, text);
		text += length + (text[length] == '\n');
	}
}

void
hbctl_help_all(FILE *out)
{
	fprintf(out, "usage: hbctl [option]... VERB [argument]...\n\n"
		     "The operator's tool of a hongbao node.\n\nverbs:\n");
	for (const struct hbctl_command *c = hbctl_commands; c->name != NULL; c++) {
		char left[HBCTL_NAME_BYTES];

		snprintf(left, sizeof(left), "%s%s%s", c->name, c->arguments[0] == '\0' ? "" : " ",
			c->arguments);
		fprintf(out, "  %-*s %s\n", HELP_COLUMN - 3, left, c->summary);
	}
	fprintf(out, "\noptions, before or after the verb:\n");
	for (const struct hbctl_option *o = hbctl_global_options; o->name != NULL; o++)
		print_option(o, out);
	fprintf(out, "\nexit status:\n"
		     "  0  all is well\n"
		     "  1  something is wrong, or the node refused\n"
		     "  2  usage or configuration\n"
		     "  3  the node does not answer\n"
		     "\n'hbctl help VERB' tells more, 'hbctl help all' everything.\n");
}

static void
print_usage(const struct hbctl_command *command, FILE *out)
{
	fprintf(out, "usage: hbctl %s%s%s", command->name, command->arguments[0] == '\0' ? "" : " ",
		command->arguments);
	for (const struct hbctl_option *o = command->options; o != NULL && o->name != NULL; o++)
		fprintf(out, " [%s%s%s]%s", o->name, o->value == NULL ? "" : " ",
			o->value == NULL ? "" : o->value, o->repeats ? "..." : "");
	fputc('\n', out);
}

void
hbctl_help_command(const struct hbctl_command *command, FILE *out)
{
	print_usage(command, out);
	fprintf(out, "\n  %s\n", command->summary);
	if (command->details[0] != '\0') {
		fputc('\n', out);
		print_indented(command->details, out);
	}
	if (command->options != NULL) {
		fprintf(out, "\noptions:\n");
		for (const struct hbctl_option *o = command->options; o->name != NULL; o++)
			print_option(o, out);
	}
	fprintf(out, "\n%s:\n", strchr(command->example, '\n') == NULL ? "example" : "examples");
	print_indented(command->example, out);
}

void
hbctl_help_manual(FILE *out)
{
	fprintf(out, "HBCTL(8)\n\nNAME\n  hbctl - look after a hongbao node\n\nSYNOPSIS\n\n");
	hbctl_help_all(out);
	for (const struct hbctl_command *c = hbctl_commands; c->name != NULL; c++) {
		fprintf(out, "\n-- %s --\n\n", c->name);
		hbctl_help_command(c, out);
	}
	fprintf(out, "\nFILES\n"
		     "  run/etc/hongbao.conf                configuration of the node\n"
		     "  key/jwt.keys                        secrets behind 'token user', 0400\n"
		     "  socket/dataplane/attach.sock        engine: root attaches as control does\n"
		     "  socket/persist/admin.sock           journal and appliers\n"
		     "  socket/control/admin.sock           status, jobs\n"
		     "\nENVIRONMENT\n"
		     "  HB_CONFIG                           configuration, as -c\n"
		     "  HB_SECTION_OPTION                   one option, as -o section.option=\n"
		     "\nNOTES\n"
		     "  Amounts are yuan with two decimals in text, integer fen in JSON.\n"
		     "  Times are Beijing time in text, Unix milliseconds in JSON.\n");
}

/* The n-th word of a command's name, "" when it has fewer. */
static void
name_word(const char *name, int n, char word[HBCTL_NAME_BYTES])
{
	while (n-- > 0 && *name != '\0') {
		name += strcspn(name, " ");
		name += strspn(name, " ");
	}
	snprintf(word, HBCTL_NAME_BYTES, "%.*s", (int)strcspn(name, " "), name);
}

static void
complete_options(const struct hbctl_option *list, const char *begun, FILE *out)
{
	for (; list != NULL && list->name != NULL; list++) {
		if (strncmp(list->name, begun, strlen(begun)) == 0)
			fprintf(out, "%s\n", list->name);
	}
}

/* The words of a line that are not options nor their values. */
static int
plain_words(int word_count, char **words, const char *plain[WORDS_MAX])
{
	int count = 0;

	for (int i = 0; i < word_count && count < WORDS_MAX; i++) {
		if (strcmp(words[i], "-c") == 0 || strcmp(words[i], "-o") == 0)
			i++;
		else if (words[i][0] != '-')
			plain[count++] = words[i];
	}
	return count;
}

static void
complete_names(const char *first, const char *begun, FILE *out)
{
	char last[HBCTL_NAME_BYTES] = "";
	char word[HBCTL_NAME_BYTES];

	for (const struct hbctl_command *c = hbctl_commands; c->name != NULL; c++) {
		if (first != NULL && !begins_with_word(c->name, first))
			continue;
		name_word(c->name, first == NULL ? 0 : 1, word);
		if (strncmp(word, begun, strlen(begun)) == 0 && strcmp(word, last) != 0)
			fprintf(out, "%s\n", word);
		memcpy(last, word, sizeof(last));
	}
}

void
hbctl_complete(int word_count, char **words, FILE *out)
{
	const char *plain[WORDS_MAX];
	const char *begun = word_count == 0 ? "" : words[word_count - 1];
	int count = plain_words(word_count == 0 ? 0 : word_count - 1, words, plain);
	const struct hbctl_command *command = NULL;
	char name[HBCTL_NAME_BYTES];

	if (count >= 2) {
		snprintf(name, sizeof(name), "%s %s", plain[0], plain[1]);
		command = hbctl_command_find(name);
	}
	if (command == NULL && count >= 1)
		command = hbctl_command_find(plain[0]);
	if (begun[0] == '-') {
		complete_options(command == NULL ? NULL : command->options, begun, out);
		complete_options(hbctl_global_options, begun, out);
	} else if (count == 0) {
		complete_names(NULL, begun, out);
	} else if (count == 1) {
		complete_names(strcmp(plain[0], "help") == 0 ? NULL : plain[0], begun, out);
	} else if (count == 2 && strcmp(plain[0], "help") == 0) {
		complete_names(plain[1], begun, out);
	}
}
