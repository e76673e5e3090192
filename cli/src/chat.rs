//! `imago chat`: a chat in the terminal.

mod input;

use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use futures::StreamExt;
use imago_client::{Client, Error, Message, Receipt, State};
use tokio::{sync::mpsc, task::JoinSet};

use self::input::{Input, Line};
use crate::token::{self, SecretArgs};

const HELP: &str = "\
type a line and press Enter to send it; also:
  @NAME TEXT   send one line to somebody
  /to NAME     talk to somebody from now on
  /help        this help
  /quit        leave (or Ctrl-D)
marks: … is being sent, ✓ is stored and will arrive";

/// Flags of `imago chat`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: imago chat --as alice --to bob\n\n\
Without --gateway and --token, with the cluster that `imago dev` runs in this directory.")]
pub(crate) struct ChatArgs {
    /// Account to chat as
    #[arg(long = "as", value_name = "ACCOUNT", required_unless_present = "token")]
    account: Option<String>,
    /// Account to talk to
    #[arg(long, value_name = "ACCOUNT")]
    to: Option<String>,
    /// Gateway to connect to, ws://… or tcp://…; may be given several times
    #[arg(long, value_name = "URL")]
    gateway: Vec<String>,
    /// File that holds a token to log in with
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,
    /// Device to log in as: each of an account has its own session
    #[arg(long, default_value = "")]
    device: String,
    #[command(flatten)]
    secret: SecretArgs,
}

/// Chats until the user leaves.
pub(crate) async fn run(args: ChatArgs) -> anyhow::Result<()> {
    let gateways =
        if args.gateway.is_empty() { args.secret.dev()?.gateways() } else { args.gateway.clone() };
    let token = match (&args.token, &args.account) {
        (Some(path), _) => std::fs::read_to_string(path)
            .with_context(|| format!("--token {}", path.display()))?
            .trim()
            .to_owned(),
        (None, account) => {
            let account = account.as_deref().unwrap_or_default();
            let day = Duration::from_secs(86_400);
            token::make(&args.secret.read()?, account, "imago", &args.device, day)?
        }
    };
    let client = Client::builder(gateways).token(token).connect().await?;
    let account = client.session().account;
    let (input, lines) = Input::start(&account, args.to.as_deref())?;
    input.show(&format!("online as {account}, /help helps"));
    Chat { client, account, to: args.to, input, sending: JoinSet::new() }.run(lines).await
}

struct Chat {
    client: Client,
    account: String,
    to: Option<String>,
    input: Input,
    /// Messages on their way, each with its receiver.
    sending: JoinSet<(String, Result<Receipt, Error>)>,
}

impl Chat {
    async fn run(mut self, mut lines: mpsc::Receiver<Line>) -> anyhow::Result<()> {
        let mut messages = self.client.messages();
        let mut state = self.client.state();
        let mut shown = State::Online;
        loop {
            tokio::select! {
                line = lines.recv() => match line {
                    Some(Line::Text(line)) if self.line(line.trim()) => self.input.go_on(),
                    _ => break,
                },
                Some(message) = messages.next() => self.message(&message),
                Some(sent) = self.sending.join_next() => {
                    if let Ok((to, sent)) = sent {
                        self.sent(&to, sent);
                    }
                }
                changed = state.changed() => {
                    let now = state.borrow_and_update().clone();
                    if now != shown {
                        self.input.show(&format!("-- {}", printable(&now.to_string())));
                        shown = now.clone();
                    }
                    if changed.is_err() || matches!(now, State::Closed { .. }) {
                        anyhow::bail!("the chat is over: {now}");
                    }
                }
            }
        }
        while let Some(sent) = self.sending.join_next().await {
            if let Ok((to, sent)) = sent {
                self.sent(&to, sent);
            }
        }
        self.client.logout().await.context("could not log out cleanly")?;
        Ok(())
    }

    /// False when the user wants to leave.
    fn line(&mut self, line: &str) -> bool {
        if let Some(rest) = line.strip_prefix('/') {
            let (command, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            match (command, rest.trim()) {
                ("quit" | "exit", _) => return false,
                ("to", "") => self.input.show("expected /to NAME"),
                ("to", name) => {
                    self.to = Some(name.to_owned());
                    self.input.set_prompt(&self.account, Some(name));
                }
                ("help", _) => self.input.show(HELP),
                (other, _) => self.input.show(&format!("unknown command /{other}, /help helps")),
            }
        } else if let Some(rest) = line.strip_prefix('@') {
            match rest.split_once(' ') {
                Some((name, text)) if !name.is_empty() => self.send(name.to_owned(), text.trim()),
                _ => self.input.show("expected @NAME TEXT"),
            }
        } else if !line.is_empty() {
            match self.to.clone() {
                Some(to) => self.send(to, line),
                None => self.input.show("to whom? /to NAME, or @NAME TEXT"),
            }
        }
        true
    }

    fn send(&mut self, to: String, text: &str) {
        self.input.show(&format!("… to {}: {}", printable(&to), printable(text)));
        let (client, text) = (self.client.clone(), text.to_owned());
        self.sending.spawn(async move {
            let sent = client.talk(to.clone(), text).await;
            (to, sent)
        });
    }

    fn sent(&self, to: &str, sent: Result<Receipt, Error>) {
        match sent {
            Ok(receipt) => {
                self.input.show(&format!("✓ to {} (number {})", printable(to), receipt.seq))
            }
            Err(error) => self.input.show(&format!(
                "✗ to {}: {}",
                printable(to),
                printable(&error.to_string())
            )),
        }
    }

    fn message(&self, message: &Message) {
        let from = match &message.sent_to {
            Some(to) => format!("you to {}", printable(to.as_str())),
            None => printable(message.sender.as_str()),
        };
        self.input.show(&format!(
            "{} {from}: {}",
            clock(message.send_time),
            printable(&message.body)
        ));
    }
}

/// Text from others must not command the terminal.
fn printable(text: &str) -> String {
    let is_harmful = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if is_harmful(c) { '\u{fffd}' } else { c }).collect()
}

/// Time of day in UTC.
fn clock(unix_nanos: i64) -> String {
    let seconds = unix_nanos.div_euclid(1_000_000_000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_commands_in_messages_are_harmless() {
        let tricked = "hi\x1b[2J\x07\r\u{202e}evil";
        assert_eq!(printable(tricked), "hi\u{fffd}[2J\u{fffd}\u{fffd}\u{fffd}evil");
        assert_eq!(printable("schön 👋"), "schön 👋");
    }

    #[test]
    fn the_clock_shows_the_time_of_day() {
        assert_eq!(clock(1_700_000_000_123_456_789), "22:13:20Z");
    }
}
