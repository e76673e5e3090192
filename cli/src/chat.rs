//! `imago chat`: a chat in the terminal.

mod command;
mod groups;
mod input;
mod piped;
mod tasks;
mod terminal;
mod text;

use std::{path::PathBuf, time::Duration};

use anyhow::Context;
use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use imago_client::{Client, Event, GroupId, Message, Place, State};
use imago_kit::{RedactedPath, cli::shutdown_on_signal, out, read_secret};
use imago_local::{SecretArgs, make_token};
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

use self::text::printable;
use self::{
    command::{Command, HELP, To},
    groups::Groups,
    input::{Input, Line},
    tasks::Done,
};

/// How long the names of groups are waited for: without them, their ids are shown.
const NAMES: Duration = Duration::from_secs(3);
/// How long what was begun, and the logout, may take once a signal has ended the chat.
const GOODBYE: Duration = Duration::from_secs(5);

/// Flags of `imago chat`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: imago chat --as alice --to bob\n\n\
Without --gateway and --token, with the cluster that `imago dev` runs in this directory.")]
pub(crate) struct ChatArgs {
    /// Account to chat as
    #[arg(long = "as", value_name = "ACCOUNT", required_unless_present = "token")]
    account: Option<String>,
    /// Account to talk to, or #GROUP
    #[arg(long, value_name = "NAME")]
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

/// Chats until the user leaves, or a signal says so.
pub(crate) async fn run(args: ChatArgs) -> anyhow::Result<()> {
    let shutdown = shutdown_on_signal()?;
    let gateways =
        if args.gateway.is_empty() { args.secret.dev()?.gateways() } else { args.gateway.clone() };
    let token = match (&args.token, &args.account) {
        (Some(path), _) => {
            let token = read_secret(path);
            let token = token.with_context(|| format!("--token {}", RedactedPath(path)))?;
            token.expose().to_owned()
        }
        (None, account) => {
            let account = account.as_deref().unwrap_or_default();
            let day = Duration::from_secs(86_400);
            make_token(&args.secret.read()?, account, "imago", &args.device, day)?
        }
    };
    let connecting = Client::builder(gateways).token(token).connect();
    let Some(client) = shutdown.run_until_cancelled(connecting).await else { return Ok(()) };
    let client = client?;
    let account = client.session().account;
    let mut groups = Groups::default();
    // An old server has none to tell of.
    if let Ok(Ok(found)) = timeout(NAMES, groups::fetch(&client)).await {
        for (id, conversation) in found {
            groups.learn(id, conversation.name.unwrap_or_default());
        }
    }
    let to = args.to.as_deref().map(|to| place(&groups, command::to(to)));
    let to = to.transpose().map_err(anyhow::Error::msg)?;
    let label = to.as_ref().map(|to| label(&groups, to));
    let (input, lines) = Input::start(&account, label.as_deref())?;
    input.show(&format!("online as {}, /help helps", printable(&account)));
    let tasks = FuturesUnordered::new();
    Chat { client, account, to, input, groups, tasks }.run(lines, &shutdown).await
}

/// Whom or which group the user means.
fn place(groups: &Groups, to: To) -> Result<Place, String> {
    Ok(match to {
        To::Account(account) => Place::with(account),
        To::Group(typed) => Place::Group(groups.find(&typed)?),
    })
}

/// What it is called on the screen.
fn label(groups: &Groups, place: &Place) -> String {
    match place {
        Place::Group(group) => format!("#{}", groups.label(group)),
        Place::With(account) => printable(account.as_str()),
        Place::Conversation(id) => printable(id.as_str()),
    }
}

struct Chat {
    client: Client,
    account: String,
    to: Option<Place>,
    input: Input,
    groups: Groups,
    /// What is asked of the server at the moment: one for each line typed, begun in their order.
    tasks: FuturesUnordered<BoxFuture<'static, Done>>,
}

impl Chat {
    async fn run(
        mut self,
        lines: mpsc::Receiver<Line>,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<()> {
        if shutdown.run_until_cancelled(self.talk(lines)).await.transpose()?.is_some() {
            return self.goodbye().await;
        }
        self.input.restore();
        timeout(GOODBYE, self.goodbye()).await.unwrap_or(Ok(()))
    }

    /// Until the user leaves.
    async fn talk(&mut self, mut lines: mpsc::Receiver<Line>) -> anyhow::Result<()> {
        let mut messages = self.client.messages();
        let mut events = self.client.events();
        let mut state = self.client.state();
        let mut shown = State::Online;
        loop {
            tokio::select! {
                line = lines.recv() => match line {
                    Some(Line::Text(line)) if self.line(line.trim()) => self.input.go_on(),
                    Some(Line::Unusable(wrong)) => {
                        self.input.show(&format!("✗ {wrong}"));
                        self.input.go_on();
                    }
                    _ => return Ok(()),
                },
                Some(message) = messages.next() => self.message(&message).await,
                Some(event) = events.next() => self.event(event).await,
                Some(done) = self.tasks.next() => self.done(done),
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
    }

    /// Ends what was begun, and the session.
    async fn goodbye(&mut self) -> anyhow::Result<()> {
        while let Some(done) = self.tasks.next().await {
            self.done(done);
        }
        let logged_out = self.client.logout().await;
        self.input.restore();
        // Beside the thread that edits, which may be in the midst of a line for ever.
        out!("-- goodbye");
        logged_out.context("could not log out cleanly")
    }

    /// False when the user wants to leave.
    fn line(&mut self, line: &str) -> bool {
        let carried_out = command::parse(line).and_then(|command| match command {
            Command::Quit => Ok(false),
            command => self.command(command).map(|()| true),
        });
        carried_out.unwrap_or_else(|wrong| {
            self.input.show(&wrong);
            true
        })
    }

    /// Carries a command out, or begins to; `Err` says why it cannot be.
    fn command(&mut self, command: Command) -> Result<(), String> {
        let client = self.client.clone();
        match command {
            Command::Nothing | Command::Quit => {}
            Command::Help => self.input.show(HELP),
            Command::To(to) => {
                let to = place(&self.groups, to)?;
                self.input.set_prompt(&self.account, Some(&label(&self.groups, &to)));
                self.to = Some(to);
            }
            Command::Say(to, text) => {
                let to = self.place_or_partner(to)?;
                let label = label(&self.groups, &to);
                self.input.show(&format!("… to {label}: {}", printable(&text)));
                self.begin(tasks::say(client, to, label, text));
            }
            Command::Create { name, members, open } => {
                self.begin(tasks::create(client, name, members, open));
            }
            Command::Groups => self.begin(tasks::list(client)),
            Command::Add { group, account } => {
                self.begin(tasks::join(client, self.groups.find(&group)?, account));
            }
            Command::Join(group) => {
                let account = self.account.clone();
                self.begin(tasks::join(client, self.groups.find(&group)?, account));
            }
            Command::Leave(group) => {
                let group = self.groups.find(&group)?;
                let label = self.groups.label(&group);
                self.begin(tasks::leave(client, group, label));
            }
            Command::Who(group) => {
                let group = self.group_or_partner(group)?;
                self.begin(tasks::who(client, group));
            }
            Command::History(number) => {
                let place = self.place_or_partner(None)?;
                let label = label(&self.groups, &place);
                self.begin(tasks::history(client, place, label, number));
            }
        }
        Ok(())
    }

    fn begin(&mut self, task: impl Future<Output = Done> + Send + 'static) {
        self.tasks.push(Box::pin(task));
    }

    fn place_or_partner(&self, to: Option<To>) -> Result<Place, String> {
        match to {
            Some(to) => place(&self.groups, to),
            None => self.to.clone().ok_or_else(|| "to whom? /to NAME, or @NAME TEXT".to_owned()),
        }
    }

    fn group_or_partner(&self, group: Option<String>) -> Result<GroupId, String> {
        match (group, &self.to) {
            (Some(group), _) => self.groups.find(&group),
            (None, Some(Place::Group(group))) => Ok(group.clone()),
            (None, _) => Err("in which group? /who GROUP".to_owned()),
        }
    }

    fn done(&mut self, done: Done) {
        if let Some((id, name)) = done.group {
            self.groups.learn(id, name);
        }
        for line in done.lines {
            self.input.show(&line);
        }
    }

    async fn message(&mut self, message: &Message) {
        if let Some(group) = &message.group {
            self.learn(group).await;
        }
        self.input.show(&text::message(message, &self.account, |id| self.groups.label(id)));
    }

    async fn event(&mut self, event: Event) {
        let (group, what) = match event {
            // Whoever made it is told so already, and so is who was told before.
            Event::GroupCreated { group, .. } if self.groups.knows(&group) => return,
            Event::GroupCreated { group, .. } => (group, "you are in".to_owned()),
            Event::GroupJoined { group, account } => (group, self.subject(account.as_str(), "in")),
            Event::GroupLeft { group, account } => {
                (group, self.subject(account.as_str(), "no longer in"))
            }
            _ => return,
        };
        self.learn(&group).await;
        self.input.show(&format!("-- {what} the group {}", self.groups.label(&group)));
    }

    fn subject(&self, account: &str, how: &str) -> String {
        match account == self.account {
            true => format!("you are {how}"),
            false => format!("{} is {how}", printable(account)),
        }
    }

    /// Gets to know a group's name, if it can be had soon.
    async fn learn(&mut self, group: &GroupId) {
        if self.groups.knows(group) {
            return;
        }
        let name = match timeout(NAMES, self.client.group(group.clone())).await {
            Ok(Ok(found)) => found.name,
            // Not asked for again with each message.
            Ok(Err(_)) | Err(_) => String::new(),
        };
        self.groups.learn(group.clone(), name);
    }
}
