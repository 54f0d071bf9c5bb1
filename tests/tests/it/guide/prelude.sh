# What stands before the commands of a page. `blocks` is the folder with its blocks, each by its line.
set -euo pipefail
here=$PWD
line=0

# What a reader's cargo downloads and compiles, this workspace has: the same lock file, features and target folder.
# Features depend on all that is chosen: `--example` makes cargo count in those of tests, as the build of the tests did.
cargo() {
    local command=$1
    shift
    local chosen=("$@")
    (($# > 0)) || chosen=(--bin count-orders)
    [[ $command == test ]] || chosen+=(--example first_function)
    [[ -e target ]] || ln -s "$CARGO_TARGET_DIR" target
    command cargo "$command" --offline --workspace "${chosen[@]}"
}

at() {
    line=$1
    echo "==> line $line of the page"
}

must_have_printed() {
    diff --label 'the page' --label 'what was printed' -u "$blocks/$1.expected" "$blocks/$1.printed"
}

until_it_prints() {
    local deadline=$((SECONDS + 60))
    until block > "$blocks/$1.printed" 2> "$blocks/$1.said" && cmp --silent "$blocks/$1.expected" "$blocks/$1.printed"; do
        if ((SECONDS > deadline)); then
            cat "$blocks/$1.said"
            must_have_printed "$1"
            return 1
        fi
        sleep 0.1
    done
}

# Whatever was started ends with the page, wherever that is.
tidy() {
    local code=$?
    trap - EXIT
    set +e
    ((code == 0)) || echo "==> ended at line $line with $code"
    local started
    started=$(jobs -p)
    [[ -z $started ]] || kill $started
    wait
    if ((code != 0)); then
        cat "$here/count-orders/relay.log" "$TMPDIR"/oncebox-stack-*/logs/functions/*.log 2> /dev/null
    fi
    python3 "$here/oncebox/localstack/stack.py" down
    exit "$code"
}
trap tidy EXIT
trap 'exit 143' TERM
trap 'exit 130' INT
