//! A page of Markdown as what its reader does. Pure.
//!
//! The first word after a fence is the language, for whoever renders it; the second says what is done:
//!
//! | block | is |
//! |---|---|
//! | `rust file=PATH` (any language) | written to the file |
//! | `rust append=PATH` | written at the file's end, after an empty line |
//! | `sh` | typed |
//! | `sh again` | typed until it prints what the page shows next |
//! | `text` | what the last command has printed |

/// A fenced block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block<'a> {
    /// 1-based line of its fence.
    pub(super) line: usize,
    /// What stands behind the fence.
    pub(super) info: &'a str,
    pub(super) text: String,
}

/// What a reader does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step<'a> {
    Write {
        path: &'a str,
        text: String,
    },
    Append {
        path: &'a str,
        text: String,
    },
    Type {
        command: String,
        printed: Option<String>,
        again: bool,
    },
}

/// Steps, each with its line.
#[derive(Debug)]
pub(super) struct Page<'a> {
    pub(super) steps: Vec<(usize, Step<'a>)>,
}

impl<'a> Page<'a> {
    /// # Errors
    /// There is a block that nobody would write to a file, run or compare: its line, and why.
    pub(super) fn read(markdown: &'a str) -> Result<Self, String> {
        let mut steps: Vec<(usize, Step<'a>)> = Vec::new();
        for Block { line, info, text } in blocks(markdown)? {
            let (language, what) = info.split_once(' ').unwrap_or((info, ""));
            let step = match (language, what.split_once('=').unwrap_or((what, ""))) {
                ("sh", ("" | "again", "")) => Step::Type {
                    command: text,
                    printed: None,
                    again: what == "again",
                },
                ("text", ("", "")) => {
                    match steps.last_mut() {
                        Some((
                            _,
                            Step::Type {
                                printed: shown @ None, ..
                            },
                        )) => *shown = Some(text),
                        _ => return Err(format!("line {line}: no command has just printed this")),
                    }
                    continue;
                }
                (_, ("file", path)) if !path.is_empty() => Step::Write { path, text },
                (_, ("append", path)) if !path.is_empty() => Step::Append { path, text },
                _ => return Err(format!("line {line}: `{info}` is neither written to a file nor run")),
            };
            steps.push((line, step));
        }
        for (line, step) in &steps {
            if matches!(
                step,
                Step::Type {
                    printed: None,
                    again: true,
                    ..
                }
            ) {
                return Err(format!("line {line}: nothing says what it is to print"));
            }
        }
        Ok(Self { steps })
    }

    /// What the page shows as printed.
    pub(super) fn printed(&self) -> Vec<&str> {
        self.steps
            .iter()
            .filter_map(|(_, step)| match step {
                Step::Type { printed, .. } => printed.as_deref(),
                Step::Write { .. } | Step::Append { .. } => None,
            })
            .collect()
    }
}

/// # Errors
/// A block that is not fenced, or not closed: its line.
pub(super) fn blocks(markdown: &str) -> Result<Vec<Block<'_>>, String> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    let mut open = false;
    for (number, line) in (1..).zip(markdown.lines()) {
        match (line.strip_prefix("```"), blocks.last_mut().filter(|_| open)) {
            (Some(""), Some(_)) => open = false,
            (Some(info), None) => {
                open = true;
                blocks.push(Block {
                    line: number,
                    info,
                    text: String::new(),
                });
            }
            (_, Some(block)) => block.text = block.text.clone() + line + "\n",
            (None, None) if line.starts_with("    ") || line.trim_start().starts_with(['\t', '~']) => {
                return Err(format!("line {number}: a block without a fence of backquotes"));
            }
            (None, None) if line.trim_start().starts_with("```") => {
                return Err(format!("line {number}: a fence that does not begin its line"));
            }
            (None, None) => {}
        }
    }
    match blocks.last().filter(|_| open) {
        Some(block) => Err(format!("line {}: the block has no end", block.line)),
        None => Ok(blocks),
    }
}

#[test]
fn a_block_that_is_neither_written_nor_run_is_a_fault() {
    for (markdown, fault) in [
        ("```json\n{}\n```\n", "line 1: `json` is neither"),
        ("a\n\n```rust\nfn main() {}\n```\n", "line 3: `rust` is neither"),
        ("```sh quietly\nls\n```\n", "line 1: `sh quietly` is neither"),
        ("```rust file=\n```\n", "line 1: `rust file=` is neither"),
        ("```text\nprinted\n```\n", "line 1: no command"),
        (
            "```sh\nls\n```\n```text\na\n```\n```text\nb\n```\n",
            "line 7: no command",
        ),
        ("```sh again\nls\n```\n", "line 1: nothing says"),
        ("```sh\nls\n", "line 1: the block has no end"),
        ("text\n\n    ls\n", "line 3: a block without a fence"),
        ("~~~sh\nls\n~~~\n", "line 1: a block without a fence"),
        (" ```sh\nls\n```\n", "line 1: a fence that does not begin"),
    ] {
        let found = Page::read(markdown).map(|page| page.steps);
        assert!(
            found.as_ref().is_err_and(|found| found.starts_with(fault)),
            "{markdown}: {found:?}"
        );
    }
}

#[test]
fn a_page_is_what_its_reader_does() {
    let page = Page::read(
        "A.\n```toml file=a/b.toml\n[c]\n```\n```rust append=d.rs\nfn e() {}\n```\n```sh again\nls\npwd\n```\nB:\n```text\nf\n```\n```sh\ng\n```\n",
    );
    let write = Step::Write {
        path: "a/b.toml",
        text: "[c]\n".to_owned(),
    };
    let append = Step::Append {
        path: "d.rs",
        text: "fn e() {}\n".to_owned(),
    };
    let again = Step::Type {
        command: "ls\npwd\n".to_owned(),
        printed: Some("f\n".to_owned()),
        again: true,
    };
    let once = Step::Type {
        command: "g\n".to_owned(),
        printed: None,
        again: false,
    };
    assert_eq!(page.unwrap().steps, [(2, write), (5, append), (8, again), (16, once)]);
}
