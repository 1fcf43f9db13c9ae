# SPDX-License-Identifier: Apache-2.0
# Completion of hbctl for bash: source this file, or copy it to
# /etc/bash_completion.d/hbctl. The candidates come from hbctl's own table of verbs.

_hbctl() {
    local current=${COMP_WORDS[COMP_CWORD]}
    local previous=${COMP_WORDS[COMP_CWORD - 1]}

    COMPREPLY=()
    case $previous in
    -c)
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return
        ;;
    esac
    mapfile -t COMPREPLY < <(
        "${COMP_WORDS[0]}" --complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null
    )
    if [[ ${#COMPREPLY[@]} -eq 0 && ${COMP_WORDS[1]} == journal ]]; then
        mapfile -t COMPREPLY < <(compgen -d -- "$current")
    fi
}

complete -o filenames -F _hbctl hbctl
