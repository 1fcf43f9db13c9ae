# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# completion: words for bash, taken from the usage text, so that no command is forgotten.

launcher_words() {
    usage | sed -n 's/^  \([a-z]\{2,\}\) .*/\1/p' | sort -u | tr '\n' ' '
}

command_completion() {
    if help_wanted "$@"; then
        say "usage: source <(./hongbao completion)"
        say "Prints what bash needs to complete ./hongbao and hbctl."
        return
    fi
    [ $# -eq 0 ] || usage_error "completion takes no arguments"
    cat <<END
_hongbao() {
    local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD - 1]}

    COMPREPLY=()
    case \$previous in
    -c | --config)
        mapfile -t COMPREPLY < <(compgen -f -- "\$current")
        return
        ;;
    esac
    if [ "\$COMP_CWORD" -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "$(launcher_words)" -- "\$current")
    else
        mapfile -t COMPREPLY < <(compgen -W "--help --config --json" -- "\$current")
    fi
}

complete -o filenames -F _hongbao hongbao ./hongbao
END
    cat "$ROOT/tools/hbctl/completion.bash"
}
