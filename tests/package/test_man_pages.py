#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The manual pages say all that the programs say, and mandoc has nothing to object. Usage:
test_man_pages.py BUILD_DIR
"""
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAGES = ("man5/hongbao.conf.5", "man7/hongbao.7", "man8/hbctl.8", "man8/hongbao-control.8",
         "man8/hongbao-dataplane.8", "man8/hongbao-persist.8")


def say(build, *words):
    return subprocess.run([os.path.join(build, *words[:1]), *words[1:]], capture_output=True,
                          text=True, check=True).stdout


def shown(path):
    """The page as it is read, each run of white space one blank."""
    text = subprocess.run(["mandoc", "-Tutf8", "-O", "width=1000", path], capture_output=True,
                          text=True, check=True).stdout
    return " ".join(re.sub(r".\x08", "", text).split())


def all_pages_are_there(_, folder):
    found = sorted(os.path.relpath(os.path.join(place, name), folder)
                   for place, _, names in os.walk(folder) for name in names)
    assert tuple(found) == PAGES, found


def mandoc_has_nothing_to_object(_, folder):
    result = subprocess.run(["mandoc", "-Tlint", "-W", "style",
                             *(os.path.join(folder, page) for page in PAGES)],
                            capture_output=True, text=True, check=False)
    assert result.returncode == 0 and not result.stdout, result.stdout


def every_verb_and_option_of_hbctl_is_in_its_page(build, folder):
    page = shown(os.path.join(folder, "man8/hbctl.8"))
    manual = say(build, "tools/hbctl/hbctl", "help", "all")
    verbs = re.findall(r"^-- (.*) --$", manual, re.M)
    assert len(verbs) > 20, verbs
    for usage in re.findall(r"^usage: (.*)$", manual, re.M):
        assert usage in page, usage
    for option, text in re.findall(r"^  (--?\S+(?: [A-Z=]+)?) {2,}(\S.*)$", manual, re.M):
        assert "%s %s" % (option, " ".join(text.split())) in page, (option, text)
    for example in re.findall(r"^examples?:\n((?:  .*\n)+)", manual, re.M):
        for line in example.splitlines():
            assert " ".join(line.split()) in page, line


def every_option_of_the_configuration_is_in_its_page(build, folder):
    page = shown(os.path.join(folder, "man5/hongbao.conf.5"))
    text = say(build, "controlplane/hongbao-control", "--print-config")
    comments = re.findall(r"^\t# (.*)$", text, re.M)
    assert len(comments) > 40
    for comment in comments:
        assert " ".join(comment.split()) in page, comment


def every_flag_of_a_process_is_in_its_page(build, folder):
    for name, program in (("hongbao-control", "controlplane"), ("hongbao-dataplane", "dataplane"),
                          ("hongbao-persist", "persist")):
        page = shown(os.path.join(folder, "man8/%s.8" % name))
        flags = re.findall(r"^ +((?:-\w, )?--\S+(?: \S+)?) {2,}(.*)$",
                           say(build, program + "/" + name, "--help"), re.M)
        assert len(flags) == 5, flags
        for flag, text in flags:
            assert "%s %s" % (flag, text) in page, (name, flag)


TESTS = (all_pages_are_there, mandoc_has_nothing_to_object,
         every_verb_and_option_of_hbctl_is_in_its_page,
         every_option_of_the_configuration_is_in_its_page, every_flag_of_a_process_is_in_its_page)


def main():
    build = sys.argv[1]
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([os.path.join(ROOT, "packaging", "man-pages"), build, folder], check=True)
        for test in TESTS:
            try:
                test(build, folder)
                print("ok    " + test.__name__.replace("_", " "))
            except AssertionError as error:
                print("FAIL  %s: %s" % (test.__name__.replace("_", " "), error))
                failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
