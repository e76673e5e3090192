//! The servers of many days, and one day on them.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use imago_client::{AckMode, Client, CloseReason, Error, State};
use tokio::task::yield_now;

use super::{
    model::{Fate, Model, Talk},
    op::{ACCOUNTS, Act, DEVICES, Deed, Op, Which},
    scene::{self, Player},
    verdict,
    view::{Asker, View},
};
use crate::{Server, World, eventually};

/// How long something may be as it must not stay, where a server was killed.
const PATIENCE: Duration = Duration::from_secs(15);

/// Servers that go from one day to the next, and are replaced where they were killed.
pub struct Cast {
    world: World,
    store: Option<String>,
    gateways: [Server; 2],
    logics: Vec<Server>,
    started: usize,
    days: usize,
}

impl Cast {
    /// Starts the servers; with a store of this URL, or else on SQLite.
    pub async fn start(store: Option<String>) -> Self {
        let world = World::gossip().await;
        let gateways =
            [world.gateway("gateway-1", &[]).await, world.gateway("gateway-2", &[]).await];
        let mut cast = Self { world, store, gateways, logics: Vec::new(), started: 0, days: 0 };
        cast.fill_up().await;
        for gateway in &cast.gateways {
            gateway.ready().await;
        }
        cast
    }

    /// Two logic servers are there.
    async fn fill_up(&mut self) {
        while self.logics.len() < 2 {
            self.started += 1;
            let id = format!("logic-{}", self.started);
            let url = self.store.iter().map(|url| ("store.url", url.as_str()));
            let logic = self.world.logic(&id, &Vec::from_iter(url)).await;
            logic.ready().await;
            self.logics.push(logic);
        }
    }

    /// Logs in on a device of an account.
    pub(super) async fn asker(&self, account: &str, device: usize, gateway: usize) -> Asker {
        let token = self.world.token_for(account, "imago", DEVICES[device].1);
        Asker::login(&self.gateways[gateway % 2], &token, account).await
    }

    /// Lives through a day with accounts of its own; gives what went wrong.
    pub async fn live(&mut self, ops: &[Op]) -> Vec<String> {
        self.fill_up().await;
        self.days += 1;
        let mut day = Day::new(self.days);
        for device in 0..ACCOUNTS {
            day.comes(self, device, device % 2).await;
        }
        let act = Act::Create { open: true, members: [true, true, true, false] };
        day.together(&[Deed { client: 0, act }], None).await;
        for op in ops {
            day.model.tick();
            day.step(self, op).await;
            if !day.faults.is_empty() {
                return day.faults;
            }
        }
        day.end(self).await
    }
}

/// What has happened of a day.
pub(super) struct Day {
    pub(super) names: Vec<String>,
    pub(super) model: Model,
    pub(super) online: Vec<Player>,
    logs: Vec<scene::Log>,
    pub(super) faults: Vec<String>,
}

impl Day {
    fn new(number: usize) -> Self {
        let names = ["ana", "bob", "cid", "dan"].map(|name| format!("{name}-{number}"));
        Self {
            names: names.into(),
            model: Model::default(),
            online: Vec::new(),
            logs: Vec::new(),
            faults: Vec::new(),
        }
    }

    async fn step(&mut self, cast: &mut Cast, op: &Op) {
        match op {
            Op::Come { device, gateway } => {
                if let Some(device) = self.offline(*device) {
                    self.comes(cast, device, *gateway).await;
                }
            }
            Op::Displace { client, gateway } => {
                if let Some(at) = client.checked_rem(self.online.len()) {
                    self.comes(cast, self.online[at].device, *gateway).await;
                }
            }
            Op::Leave { client, is_sated } => self.leaves(*client, *is_sated).await,
            Op::Vanish { client, to, turns } => self.vanishes(*client, *to, *turns).await,
            Op::Fetch(fetch) => self.fetches(cast, fetch).await,
            Op::Together(deeds) => self.together(deeds, None).await,
            Op::Kill { logic, answers, meanwhile } => {
                self.model.kills.insert(self.model.now);
                let mut victim = cast.logics.remove(logic % cast.logics.len());
                self.together(meanwhile, Some((&mut victim, *answers))).await;
                cast.fill_up().await;
            }
        }
    }

    /// Devices without a client.
    fn all_offline(&self) -> Vec<usize> {
        let is_online = |device: &usize| self.online.iter().any(|on| on.device == *device);
        (0..DEVICES.len()).filter(|device| !is_online(device)).collect()
    }

    /// The device that is called so among those offline.
    pub(super) fn offline(&self, number: usize) -> Option<usize> {
        let offline = self.all_offline();
        number.checked_rem(offline.len()).map(|at| offline[at])
    }

    async fn comes(&mut self, cast: &Cast, device: usize, gateway: usize) {
        let (owner, name) = DEVICES[device];
        let account = self.names[owner].clone();
        let life = self.model.comes(&account, device);
        let client = Client::builder([cast.gateways[gateway % 2].ws()])
            .token(cast.world.token_for(&account, "imago", name))
            .acks(AckMode::Manual)
            .backoff(Duration::from_millis(50), Duration::from_secs(1))
            .talk_deadline(Duration::from_secs(60))
            .connect_timeout(Duration::from_secs(20))
            .connect()
            .await
            .unwrap_or_else(|error| panic!("{account} cannot log in: {error}"));
        let before = self.online.iter().position(|player| player.device == device);
        if let Some(displaced) = before.map(|at| self.online.remove(at)) {
            let mut state = displaced.client.state();
            eventually(PATIENCE, "the old session ends", || {
                let ended = matches!(
                    &*state.borrow_and_update(),
                    State::Closed { why: CloseReason::Kicked }
                );
                async move { ended.then_some(()) }
            })
            .await;
            self.model.lives[displaced.life].is_over = true;
        }
        let player = Player::new(device, life, account, client);
        self.logs.push(player.log.clone());
        self.online.push(player);
    }

    /// Takes a client off the list.
    fn gone(&mut self, client: usize) -> Option<Player> {
        let at = client.checked_rem(self.online.len())?;
        let player = self.online.remove(at);
        self.model.lives[player.life].is_over = true;
        Some(player)
    }

    async fn leaves(&mut self, client: usize, is_sated: bool) {
        let Some(player) = self.gone(client) else { return };
        if is_sated {
            player.is_sated(&self.model.lives[player.life].cursors).await;
        }
        if let Err(error) = player.client.logout().await {
            self.faults.push(format!("{} cannot log out: {error}", player.account));
        }
    }

    async fn vanishes(&mut self, client: usize, to: usize, turns: usize) {
        let Some(player) = self.gone(client) else { return };
        let to = match to
            .checked_sub(ACCOUNTS)
            .and_then(|group| self.group(&player.account, Which::Any(group)))
        {
            Some(group) => Talk::Group(group),
            None => Talk::between(&player.account, &self.names[to % ACCOUNTS]),
        };
        let number = self.model.says(player.life, to.clone());
        let saying = player.say(&to, number);
        let patience = async {
            for _ in 0..turns {
                yield_now().await;
            }
        };
        self.model.said[number].fate = tokio::select! {
            biased;
            said = saying => match said {
                Ok(receipt) => Fate::Accepted(receipt.seq.0),
                Err(Error::Rejected { .. }) => Fate::Refused,
                Err(_) => Fate::Unknown,
            },
            () = patience => Fate::Unknown,
        };
    }

    /// The group that an account calls so.
    pub(super) fn group(&self, account: &str, which: Which) -> Option<String> {
        let (number, any) = match which {
            Which::Own(number) => (number, false),
            Which::Any(number) => (number, true),
        };
        let groups = self.model.groups.keys();
        let groups: Vec<_> =
            groups.filter(|group| any || self.model.is_member(group, account)).collect();
        let at = number.checked_rem(groups.len())?;
        groups.get(at).map(|group| (*group).clone())
    }

    /// Waits until everything is as it has to be; gives what is not.
    async fn end(self, cast: &Cast) -> Vec<String> {
        let patience = if self.model.kills.is_empty() { PATIENCE / 8 } else { PATIENCE };
        let (mut last, mut since) = (Vec::new(), Instant::now());
        loop {
            let faults = self.look(cast).await;
            if faults != last {
                (last, since) = (faults, Instant::now());
            }
            // Nothing gets better any more.
            if last.is_empty() || since.elapsed() > patience {
                return self.faults.into_iter().chain(last).collect();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn look(&self, cast: &Cast) -> Vec<String> {
        // Before the store is asked, which has what they got.
        let got: Vec<_> = self.logs.iter().map(scene::read).collect();
        let mut views = BTreeMap::new();
        for (number, account) in self.names.iter().enumerate() {
            let token = cast.world.token_for(account, "imago", "watch");
            let gateway = &cast.gateways[number % 2];
            let view = View::read(gateway, &token, account, self.model.groups.keys()).await;
            views.insert(account.clone(), view);
        }
        let mut listed = BTreeMap::new();
        for device in self.all_offline() {
            let account = &self.names[DEVICES[device].0];
            let entries = cast.asker(account, device, device).await.index(0).await;
            listed.insert(device, (account.clone(), entries));
        }
        let evidence = verdict::Evidence { views: &views, got: &got, listed: &listed };
        verdict::faults(&self.model, &evidence)
    }
}
