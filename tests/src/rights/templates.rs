//! The roles of the templates in `infra/`, and what AWS says of actions, both read by a script.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, process::Command};

use super::Policy;
use crate::Stack;

/// The roles and managed policies of a template, by their logical ids.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub struct Roles(BTreeMap<String, Policy>);

impl Roles {
    /// Reads a template of `infra/` with these parameters; those that are not given have their defaults.
    ///
    /// # Errors
    /// The template uses a function or a kind of statement that the script does not know, or a parameter has no value.
    pub async fn of(stack: &Stack, template: &str, parameters: &[(&str, &str)]) -> Result<Self> {
        let parameters: BTreeMap<&str, &str> = parameters.iter().copied().collect();
        let path = infra().join(template);
        let asked = json!({ "template": path, "parameters": parameters });
        serde_json::from_value(ask(stack, "roles", &asked).await?).context("roles of another form")
    }

    /// One of them.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn get(&self, name: &str) -> Result<&Policy> {
        self.0.get(name).with_context(|| format!("no role `{name}`"))
    }

    /// The names of all of them, in all templates of `infra/`, each as `template: name`.
    ///
    /// # Errors
    /// The folder or a template cannot be read.
    pub async fn all_names(stack: &Stack) -> Result<Vec<String>> {
        let asked = json!({ "folder": infra() });
        serde_json::from_value(ask(stack, "names", &asked).await?).context("names of another form")
    }
}

/// What AWS's Service Authorization Reference says of these actions: the kinds of resources that each of them takes; an
/// action that is not listed does not exist. It is the edition that the stack's pinned `cfn-lint` carries.
///
/// # Errors
/// The script fails.
pub async fn reference(stack: &Stack, actions: &[String]) -> Result<BTreeMap<String, Vec<String>>> {
    let found = ask(stack, "reference", &json!({ "actions": actions })).await?;
    serde_json::from_value(found).context("actions of another form")
}

fn infra() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra")
}

async fn ask(stack: &Stack, what: &str, asked: &Value) -> Result<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/rights/templates.py");
    let mut child = Command::new(&stack.python)
        .arg(script)
        .arg(what)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("starting templates.py")?;
    let mut stdin = child.stdin.take().context("piped")?;
    stdin.write_all(asked.to_string().as_bytes()).await?;
    drop(stdin);
    let output = child.wait_with_output().await?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "templates.py {what}: {stderr}");
    serde_json::from_slice(&output.stdout).context("templates.py printed no JSON")
}
