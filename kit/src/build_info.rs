//! Which build this is.

/// Version of the programs.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Commit that the programs were built from, where the build was told of it in `IMAGO_COMMIT`. It is not
/// looked for: sources may come without their history, and each commit would rebuild everything.
pub const COMMIT: Option<&str> = match option_env!("IMAGO_COMMIT") {
    Some(commit) if !commit.is_empty() => Some(commit),
    _ => None,
};

/// Shows `imago_build_info`.
pub(crate) fn show() {
    let version = ("version", VERSION);
    match COMMIT {
        Some(commit) => crate::metrics::build(&[version, ("commit", commit)]),
        None => crate::metrics::build(&[version]),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_the_build_was_told_is_shown() {
        let text = crate::metrics_recorder().unwrap().render();
        let version = env!("CARGO_PKG_VERSION");
        let line = match option_env!("IMAGO_COMMIT") {
            Some(commit) if !commit.is_empty() => {
                format!("imago_build_info{{commit=\"{commit}\",version=\"{version}\"}} 1")
            }
            _ => format!("imago_build_info{{version=\"{version}\"}} 1"),
        };
        assert!(text.lines().any(|shown| shown == line), "{line} is not in {text}");
    }
}
