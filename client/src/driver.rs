//! The task behind a client: turns sockets, timers and calls into events, and actions into IO.

use std::{collections::VecDeque, future, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use imago_proto::{Packet, msg::LoginReq};
use tokio::{
    sync::{broadcast, mpsc, watch},
    time::{Instant, sleep_until, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    CloseReason, Event as ClientEvent, Message, Push, Session, State,
    core::{Action, Core},
    marks::Marks,
    options::Options,
    outbox::Call,
    sync::Waiter,
    transport::{Connection, LoginError, Lost, Online, Tasks, log_in},
};

/// How long one try to connect and log in may take.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);

/// What the handle asks for.
#[derive(Debug)]
pub(crate) enum Command {
    Call(Call),
    Sync(Waiter),
    Logout(Waiter),
}

/// The driver's ends of what it shares with the handle.
pub(crate) struct Shell {
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) messages: mpsc::Sender<Message>,
    pub(crate) marks: Arc<Marks>,
    pub(crate) state: watch::Sender<State>,
    pub(crate) session: watch::Sender<Session>,
    pub(crate) events: broadcast::Sender<ClientEvent>,
    pub(crate) pushes: broadcast::Sender<Push>,
    pub(crate) stop: CancellationToken,
}

enum Link {
    None,
    Connecting(BoxFuture<'static, Result<Online, LoginError>>),
    Up(Connection),
}

enum Event {
    LoggedIn(Result<Online, LoginError>),
    Packet(Packet),
    Lost(Lost),
}

struct Driver {
    core: Core,
    options: Options,
    shell: Shell,
    tasks: Tasks,
    link: Link,
    /// Encoded packets that wait for the connection. Bounded by the requests that the core has
    /// under way, each of which waits for its answer.
    unsent: VecDeque<Bytes>,
}

/// Runs a client until its handle is dropped, then waits for its connections' tasks.
pub(crate) async fn run(options: Options, shell: Shell) {
    let tasks = Tasks { tracker: TaskTracker::new(), stop: shell.stop.clone() };
    let stop = shell.stop.clone();
    let mut driver = Driver {
        core: Core::new(options.clone()),
        options,
        shell,
        tasks: tasks.clone(),
        link: Link::None,
        unsent: VecDeque::new(),
    };
    driver.core.start();
    stop.run_until_cancelled(driver.run()).await;
    driver.finish();
    drop(driver);
    tasks.tracker.close();
    tasks.tracker.wait().await;
}

// === impl Driver ===

impl Driver {
    async fn run(&mut self) {
        loop {
            while let Some(action) = self.core.action() {
                self.act(action);
            }
            if self.core.closed().is_some() && !self.core.has_message() {
                return;
            }
            self.turn().await;
        }
    }

    /// Waits for one event and lets the core decide.
    async fn turn(&mut self) {
        let Self { core, shell, link, unsent, .. } = self;
        let timer = core.next_timer();
        tokio::select! {
            () = shell.marks.changed() => core.consumed(Instant::now(), shell.marks.take()),
            Some(command) = shell.commands.recv(), if core.has_room() => {
                let now = Instant::now();
                match command {
                    Command::Call(call) => core.call(now, call),
                    Command::Sync(waiter) => core.synchronise(now, waiter),
                    Command::Logout(waiter) => {
                        // What was consumed before is to be acknowledged.
                        core.consumed(now, shell.marks.take());
                        core.log_out(now, waiter);
                    }
                }
            }
            event = next_event(link, unsent) => on(core, link, event),
            permit = shell.messages.reserve(), if core.has_message() && !shell.messages.is_closed() => {
                if let Ok(permit) = permit && let Some(message) = core.next_message(Instant::now()) {
                    permit.send(message);
                }
            }
            () = sleep_until(timer.unwrap_or_else(Instant::now)), if timer.is_some() => {
                core.tick(Instant::now());
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Connect { gateway, sequence, replaces } => {
                self.connect(gateway, sequence, replaces);
            }
            Action::Send(packet) => self.unsent.push_back(packet),
            Action::Disconnect => self.disconnect(),
            Action::State(state) => {
                self.shell.state.send_replace(state);
            }
            Action::Session(session) => {
                self.shell.session.send_replace(session);
            }
            Action::Event(event) => {
                // Without a subscriber it fails, which is no fault.
                let _ = self.shell.events.send(event);
            }
            Action::Push(push) => {
                let _ = self.shell.pushes.send(push);
            }
        }
    }

    fn connect(&mut self, gateway: usize, sequence: u32, replaces: String) {
        let Some(gateway) = self.options.gateways.get(gateway).cloned() else { return };
        let login = LoginReq { replaces, ..self.options.login.clone() };
        let tasks = self.tasks.clone();
        self.link = Link::Connecting(Box::pin(async move {
            let login = log_in(&gateway, &login, sequence, &tasks);
            let outcome = timeout_at(Instant::now() + LOGIN_TIMEOUT, login).await;
            outcome.unwrap_or_else(|_| {
                Err(LoginError::Failed(format!("{gateway}: no answer within {LOGIN_TIMEOUT:?}")))
            })
        }));
    }

    /// Hands what is still to be sent to the connection, as far as it takes it, and lets go of it.
    fn disconnect(&mut self) {
        if let Link::Up(connection) = &self.link {
            for packet in self.unsent.drain(..) {
                if connection.outgoing.try_send(packet).is_err() {
                    break;
                }
            }
        }
        self.unsent.clear();
        self.link = Link::None;
    }

    /// Tells all waiting callers the end: the handle is gone, or everything is delivered.
    fn finish(&mut self) {
        if self.core.closed().is_none() {
            self.core.close(CloseReason::ClosedByUser);
        }
        while let Some(action) = self.core.action() {
            self.act(action);
        }
    }
}

/// Tells the core what has happened to the link.
fn on(core: &mut Core, link: &mut Link, event: Event) {
    let now = Instant::now();
    match event {
        Event::LoggedIn(Ok(Online { session, connection })) => {
            *link = Link::Up(connection);
            core.online(now, session);
        }
        Event::LoggedIn(Err(error)) => {
            *link = Link::None;
            core.not_online(now, error);
        }
        Event::Packet(packet) => core.packet(now, packet),
        Event::Lost(lost) => core.disconnected(now, &lost),
    }
}

/// Sends what is unsent until something comes.
async fn next_event(link: &mut Link, unsent: &mut VecDeque<Bytes>) -> Event {
    match link {
        Link::None => future::pending().await,
        Link::Connecting(login) => Event::LoggedIn(login.await),
        Link::Up(Connection { outgoing, incoming, .. }) => loop {
            tokio::select! {
                packet = incoming.recv() => return match packet {
                    Some(Ok(packet)) => Event::Packet(packet),
                    Some(Err(lost)) => Event::Lost(lost),
                    None => Event::Lost(Lost { code: None, why: "connection ended".to_owned() }),
                },
                permit = outgoing.reserve(), if !unsent.is_empty() => match permit {
                    Ok(permit) => if let Some(packet) = unsent.pop_front() { permit.send(packet) },
                    // The writer has failed; the reader says why.
                    Err(_) => unsent.clear(),
                },
            }
        },
    }
}
