//! Programs that keep a processor busy each, for scenarios beside which a machine has other work.

use std::{hint::black_box, thread};

use imago_kit::out;
use tokio::io::{AsyncReadExt, stdin};

use super::child::Child;

/// Most programs that a scenario starts.
pub(crate) const MAX: usize = 64;

/// Processes that compute until this is dropped, or this process is killed.
pub(crate) struct Burners {
    _children: Vec<Child>,
}

impl Burners {
    /// Starts `count` processes, which compute once this returns.
    pub(crate) async fn start(count: usize) -> anyhow::Result<Self> {
        let mut children = Vec::new();
        for _ in 0..count.min(MAX) {
            children.push(Child::listening(&["serve-burner"]).await?.0);
        }
        Ok(Self { _children: children })
    }
}

/// Serves the hidden `imago bench serve-burner`: computes until standard input ends.
pub(crate) async fn serve() -> anyhow::Result<()> {
    // It ends with the process.
    thread::Builder::new().name("burner".to_owned()).spawn(burn)?;
    out!("busy");
    let _ = stdin().read(&mut [0]).await?;
    Ok(())
}

fn burn() {
    let mut number = 0_u64;
    loop {
        number = black_box(number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}
