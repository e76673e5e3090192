//! What `imago dev` says once the cluster has grown up.

use std::{path::Path, time::Duration};

use imago_kit::{Redacted, VERSION, out};
use imago_local::{DATA_DIR, DevState, make_token, table};

use super::DevArgs;

/// Lifetime of the demo tokens.
const DEMO_TTL: Duration = Duration::from_secs(7 * 86_400);

/// Says what runs, of what it is made, and what to do now.
pub(super) fn print_welcome(
    args: &DevArgs,
    state: &DevState,
    took: Duration,
    open_files: Option<u64>,
) -> anyhow::Result<()> {
    print_servers(state, &args.data, took);
    print_parts(args, state, open_files);
    print_next(state, &args.data)
}

fn print_servers(state: &DevState, data: &Path, took: Duration) {
    let rows: Vec<Vec<String>> = state
        .members
        .iter()
        .map(|member| {
            let or_dash = |address: &Option<String>| address.clone().unwrap_or_else(|| "-".into());
            vec![
                member.id.clone(),
                member.pid.to_string(),
                "adult".to_owned(),
                or_dash(&member.ws),
                or_dash(&member.tcp),
                member.monitor.clone(),
            ]
        })
        .collect();
    out!("{}", table(&["SERVER", "PID", "STATE", "WEBSOCKET", "TCP", "MONITOR"], &rows));
    out!("grown up in {:.2} s; messages and logs in {}", took.as_secs_f64(), data.display());
}

/// What the cluster is made of.
fn print_parts(args: &DevArgs, state: &DevState, open_files: Option<u64>) {
    let gateways = counted(args.gateways, "gateway");
    out!("imago {VERSION}: {gateways}, {}", counted(args.logics, "logic server"));
    let registry = if args.naming.is_some() { "" } else { "none to run, the servers gossip: " };
    out!("registry: {registry}{}", Redacted(&state.naming));
    let shown = |url: &str| Redacted(url).to_string();
    // Of a file there is nothing to hide.
    let store = if args.store.is_some() { shown(&state.store) } else { state.store.clone() };
    out!("store: {store}");
    let directory = match state.directory.as_deref() {
        None | Some("replicated") => "the memory of the logic servers".to_owned(),
        Some(url) => format!("the memory of the logic servers, and {}", shown(url)),
    };
    out!("directory: {directory}");
    let open_files =
        open_files.map_or("any number of".to_owned(), |limit| format!("up to {limit}"));
    out!("limits: each server may have {open_files} open files, one for each client");
}

fn counted(count: u16, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// What to do now.
fn print_next(state: &DevState, data: &Path) -> anyhow::Result<()> {
    for account in ["alice", "bob"] {
        let token = make_token(&state.jwt_secret.as_str().into(), account, "imago", "", DEMO_TTL)?;
        out!("token of {account}: {token}");
    }
    let program = how_to_run();
    let place = if data == Path::new(DATA_DIR) {
        String::new()
    } else {
        format!(" --data {}", data.display())
    };
    out!("\nNow, in two other terminals in this directory:");
    out!("  {program} chat{place} --as alice --to bob");
    out!("  {program} chat{place} --as bob --to alice");
    out!("Look at it with `{program} status{place}`. Ctrl-C ends everything.");
    Ok(())
}

/// Returns how this program is started again, as it was started.
fn how_to_run() -> String {
    if std::env::var_os("CARGO").is_some() {
        let release = if cfg!(debug_assertions) { "" } else { "--release " };
        return format!("cargo run {release}--");
    }
    std::env::args_os().next().map_or("imago".into(), |name| name.to_string_lossy().into_owned())
}
