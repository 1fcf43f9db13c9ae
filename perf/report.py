# SPDX-License-Identifier: Apache-2.0
"""The report of `bench all`: report.json, report.md and plain bars in perf/report, as SVG, and as PNG
where rsvg-convert is installed."""
import json
import os
import platform
import shutil
import subprocess
import time
from xml.sax.saxutils import escape

import goals

DIRECTORY = os.path.join(os.path.dirname(os.path.realpath(__file__)), "report")
BAR_HEIGHT = 22
BAR_GAP = 8
LABEL_WIDTH = 230
BAR_WIDTH_MAX = 420
COMMAND_LINE_WORDS = ("mitigations=", "isolcpus=", "nohz_full=", "rcu_nocbs=", "idle=", "hugepage",
                      "default_hugepagesz=", "transparent_hugepage=", "intel_idle.", "cpuidle")
NAMED_GROUPS = ("durable", "closed")  # whose rows say nothing without the group's name


def read_line(path):
    try:
        with open(path) as f:
            return f.read().strip()
    except OSError:
        return "unknown"


def environment():
    """What a figure depends on besides the program."""
    with open("/proc/meminfo") as f:
        memory = {line.split(":")[0]: int(line.split()[1]) for line in f}
    with open("/proc/cpuinfo") as f:
        models = [line.split(":")[1].strip() for line in f if line.startswith("model name")]
    commit = subprocess.run(["git", "-C", os.path.dirname(DIRECTORY), "describe", "--always",
                             "--dirty"], capture_output=True, text=True).stdout.strip()
    return {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "cpu": models[0] if models else "unknown", "cpus": os.cpu_count(),
            "memory_mib": memory["MemTotal"] >> 10, "kernel": platform.release(),
            "command_line": " ".join(word for word in read_line("/proc/cmdline").split()
                                     if word.startswith(COMMAND_LINE_WORDS)),
            "huge_pages": memory.get("HugePages_Total", 0),
            "shared_memory_huge_pages": read_line(
                "/sys/kernel/mm/transparent_hugepage/shmem_enabled"),
            "load_average": os.getloadavg()[0], "commit": commit or "unknown"}


def bars(result):
    """(label, operations per second) of a result, its peers and its variants."""
    metrics = result["metrics"]
    rows = []
    if metrics.get("rate_per_s"):
        rows.append((result["bench"], metrics["rate_per_s"]))
    for group in ("variants", "already", "durable", "closed", "loads", "drain", "sizes"):
        rows += [("%s %s" % (group if group in NAMED_GROUPS else "", name), value["rate_per_s"])
                 for name, value in metrics.get(group, {}).items()]
    rows += [(name, peer["rate_per_s"]) for name, peer in result["peers"].items()
             if "rate_per_s" in peer]
    return [(label.strip(), rate) for label, rate in rows]


def svg(result):
    rows = bars(result)
    top = max((rate for _, rate in rows), default=1)
    height = len(rows) * (BAR_HEIGHT + BAR_GAP) + 40
    width = LABEL_WIDTH + BAR_WIDTH_MAX + 110
    out = ['<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" '
           'font-family="sans-serif" font-size="13">' % (width, height),
           '<rect width="100%" height="100%" fill="white"/>',
           '<text x="8" y="20" font-weight="bold">%s, operations per second</text>' %
           escape(result["bench"])]
    for i, (label, rate) in enumerate(rows):
        y = 34 + i * (BAR_HEIGHT + BAR_GAP)
        length = max(1, round(rate / top * BAR_WIDTH_MAX))
        colour = "#999999" if label in result["peers"] else "#b5342b"
        out.append('<text x="%d" y="%d" text-anchor="end">%s</text>' % (
            LABEL_WIDTH - 8, y + 16, escape(label)))
        out.append('<rect x="%d" y="%d" width="%d" height="%d" fill="%s"/>' % (
            LABEL_WIDTH, y, length, BAR_HEIGHT, colour))
        out.append('<text x="%d" y="%d">%s</text>' % (
            LABEL_WIDTH + length + 6, y + 16, format(round(rate), ",")))
    out.append("</svg>")
    return "\n".join(out) + "\n"


def section(result):
    metrics = result["metrics"]
    lines = ["## %s" % result["bench"], "",
             "`./hongbao bench %s`: %s" % (
                 result["bench"], "ok" if result["ok"] else "**not ok**")]
    if result.get("error"):
        return lines + ["", result["error"], ""]
    if bars(result):
        lines += ["", "![%s](%s.svg)" % (result["bench"], result["bench"])]
    lines += ["", "| figure | value |", "|---|---|"]
    lines += ["| %s | %s |" % (name, value) for name, value in metrics.items()
              if not isinstance(value, dict)]
    lines += ["| times %s | %s |" % item for item in result["ratios"].items()]
    for group, value in metrics.items():
        if not isinstance(value, dict) or not value or \
                not all(isinstance(row, dict) for row in value.values()):
            continue
        columns = list(next(iter(value.values())))
        lines += ["", "| %s | %s |" % (group, " | ".join(columns)),
                  "|---" * (len(columns) + 1) + "|"]
        lines += ["| %s | %s |" % (name, " | ".join(str(row.get(c, "")) for c in columns))
                  for name, row in value.items()]
    return lines + [""]


def plot(result):
    """The bars of a result, when it has any. Where nobody can make a PNG of them there is none."""
    path = os.path.join(DIRECTORY, result["bench"])
    with open(path + ".svg", "w") as f:
        f.write(svg(result))
    if shutil.which("rsvg-convert"):
        subprocess.run(["rsvg-convert", "-o", path + ".png", path + ".svg"], check=True)


def write(results):
    """Write the report. @return its directory"""
    os.makedirs(DIRECTORY, exist_ok=True)
    about = environment()
    sync = next((r["metrics"] for r in results if "t_sync_p50_us" in r["metrics"]), None)
    lines = ["# Benchmarks", "", "| machine | |", "|---|---|"]
    lines += ["| %s | %s |" % (name.replace("_", " "), value) for name, value in about.items()]
    if sync:
        lines.append("| T_sync, µs | p50 %.0f, p99 %.0f |" % (
            sync["t_sync_p50_us"], sync["t_sync_p99_us"]))
    lines += ["", "What bounds a figure that was not reached: [docs/performance.md]"
              "(../../docs/performance.md).", ""] + goals.table(results) + [""]
    for result in results:
        lines += section(result)
        if not result.get("error") and bars(result):
            plot(result)
    with open(os.path.join(DIRECTORY, "report.md"), "w") as f:
        f.write("\n".join(lines))
    with open(os.path.join(DIRECTORY, "report.json"), "w") as f:
        json.dump({"environment": about, "results": results}, f, indent=1)
        f.write("\n")
    return DIRECTORY
