//! The relay's image, as far as it can be told without building it: `docker build` is not run here.

use std::{fs, path::Path, process::Command};

use system_tests::binary;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

/// What follows `instruction` in each of the Dockerfile's lines that start with it.
fn instructions<'a>(dockerfile: &'a str, instruction: &str) -> Vec<&'a str> {
    dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix(instruction)?.strip_prefix(' '))
        .collect()
}

#[test]
fn the_build_gets_every_member_of_the_workspace_and_the_lock() {
    let ignored = read(".dockerignore");
    let let_in: Vec<&str> = ignored.lines().filter_map(|line| line.strip_prefix('!')).collect();
    assert!(ignored.lines().any(|line| line == "*"), "all else stays out");
    let manifest = read("Cargo.toml");
    let members = manifest.split_once("members = [").unwrap().1.split_once(']').unwrap().0;
    let members = members.lines().map(|line| line.trim().trim_matches(['"', ',']));
    let needed: Vec<&str> = members.filter(|member| !member.is_empty()).collect();
    assert!(needed.contains(&"outbox-relay"));
    for path in needed.into_iter().chain(["Cargo.toml", "Cargo.lock"]) {
        assert!(root().join(path).exists(), "{path}");
        let top = path.split('/').next().unwrap();
        assert!(let_in.contains(&top), ".dockerignore keeps {path} out of the build");
    }
}

#[test]
fn the_build_uses_the_workspaces_rust_and_the_run_time_the_same_debian() {
    let (dockerfile, manifest) = (read("Dockerfile"), read("Cargo.toml"));
    let version = manifest
        .split_once("rust-version = \"")
        .unwrap()
        .1
        .split_once('"')
        .unwrap()
        .0;
    let [build, run] = instructions(&dockerfile, "FROM").try_into().unwrap();
    assert_eq!(build, format!("rust:{version}-bookworm AS build"));
    // bookworm is Debian 12.
    assert!(run.ends_with("-debian12:nonroot"), "{run}");
    assert_eq!(instructions(&dockerfile, "USER"), ["65532:65532"], "the base's nonroot");
}

#[test]
fn the_image_has_no_shell_and_the_relay_no_privileges() {
    let dockerfile = read("Dockerfile");
    let bases = instructions(&dockerfile, "FROM");
    let base = bases.last().unwrap();
    assert!(
        base.starts_with("gcr.io/distroless/") && base.ends_with(":nonroot"),
        "{base}"
    );
    assert_eq!(instructions(&dockerfile, "USER"), ["65532:65532"]);
    let service = read("infra/relay.yaml");
    for line in ["ReadonlyRootFilesystem: true", "Drop: [ALL]"] {
        assert!(service.contains(line), "infra/relay.yaml has no `{line}`");
    }
}

/// The base has glibc and libgcc, and nothing else that could be linked.
#[test]
#[cfg(target_os = "linux")]
fn the_relay_links_only_what_the_base_has() {
    let linked = Command::new("ldd")
        .arg(binary("outbox-relay").unwrap())
        .output()
        .unwrap();
    let linked = String::from_utf8(linked.stdout).unwrap();
    assert!(linked.contains("libc.so.6"), "{linked}");
    for line in linked.lines() {
        let library = line.split_whitespace().next().unwrap_or_default();
        let name = library.rsplit('/').next().unwrap_or_default();
        let is_there = ["linux-vdso.so", "libgcc_s.so", "libm.so", "libc.so", "ld-linux"];
        assert!(
            is_there.iter().any(|known| name.starts_with(known)),
            "{name} is not in the image:\n{linked}"
        );
    }
}
