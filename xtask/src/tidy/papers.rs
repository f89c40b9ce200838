//! Links between the project's papers lead somewhere.

use std::path::Path;

use anyhow::Result;

/// Relative links of all Markdown files whose target is not there.
pub(super) fn links(root: &Path) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for file in super::files(root, "md")? {
        let text = super::read(&file)?;
        let folder = file.parent().unwrap_or(root);
        for target in targets(&text) {
            if !folder.join(target).exists() {
                let name = file.strip_prefix(root).unwrap_or(&file).display();
                problems.push(format!("{name}: the link to `{target}` leads nowhere"));
            }
        }
    }
    Ok(problems)
}

/// Paths that `text` links to, outside of code blocks.
fn targets(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
        }
        if code {
            continue;
        }
        for rest in line.split("](").skip(1) {
            let target = rest.split(')').next().unwrap_or_default();
            let path = target.split('#').next().unwrap_or_default();
            if !path.is_empty() && !path.contains("://") && !path.starts_with("mailto:") {
                found.push(path);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_links_are_found() {
        let text = "[a](docs/abi.md#x) and [b](https://h/x) [c](#here)\n```\n[d](code.md)\n```\n[e](../e)";
        assert_eq!(targets(text), ["docs/abi.md", "../e"]);
    }

    #[test]
    fn a_broken_link_is_named() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("docs")).unwrap();
        std::fs::write(root.path().join("docs/a.md"), "[self](a.md) [up](../README.md)").unwrap();
        assert_eq!(links(root.path()).unwrap(), ["docs/a.md: the link to `../README.md` leads nowhere"]);
    }
}
