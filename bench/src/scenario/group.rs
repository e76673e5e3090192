//! `imago bench group` and `fanout`: groups in which everybody who is online gets every message.

use anyhow::{Context, bail, ensure};
use imago_proto::{
    LogicPacket, Status, command,
    msg::{GroupCreateReq, GroupCreateResp},
};
use prost::Message;
use serde_json::json;

use super::{load::LoadArgs, target::TargetArgs};
use crate::{
    client::{
        connect::{self, Connection},
        crowd::Crowd,
        talker::{Client, Sending},
        wire::is_push,
    },
    measure::run::Run,
    report::run::Report,
};

/// Flags of `imago bench group`.
#[derive(Debug, clap::Args)]
pub(crate) struct GroupArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    load: LoadArgs,
    /// Members of the group
    #[arg(long, default_value_t = 200)]
    members: usize,
    /// Share of the members that are online, above 0, at most 1
    #[arg(long, default_value_t = 1.0)]
    online: f64,
    /// Members that talk
    #[arg(long, default_value_t = 1)]
    senders: usize,
}

/// Flags of `imago bench fanout`.
#[derive(Debug, clap::Args)]
pub(crate) struct FanoutArgs {
    #[command(flatten)]
    target: TargetArgs,
    #[command(flatten)]
    load: LoadArgs,
    /// Clients that receive each message
    #[arg(long, default_value_t = 1000)]
    receivers: usize,
}

pub(crate) async fn run(args: GroupArgs) -> anyhow::Result<()> {
    let GroupArgs { target, load, members, online, senders } = args;
    ensure!((2..=100_000).contains(&members), "--members: expected 2 to 100000");
    ensure!(online > 0.0 && online <= 1.0, "--online: expected more than 0, at most 1");
    let connected = ((members as f64 * online).round() as usize).clamp(2, members);
    ensure!(
        (1..=connected).contains(&senders),
        "--senders: expected 1 to {connected}, the members that are online"
    );
    let title = format!(
        "group of {members}, {connected} online, {senders} talking, {}, {} bytes",
        load.pace_in_words(),
        load.size
    );
    let settings = json!({
        "scenario": "group", "members": members, "online": connected, "senders": senders,
        "load": load.json(),
    });
    let group = Group { option: "--members and --online", members, connected, senders };
    group.measure(&target, &load, title, settings).await?.publish(&target.files)
}

pub(crate) async fn fanout(args: FanoutArgs) -> anyhow::Result<()> {
    let FanoutArgs { target, load, receivers } = args;
    ensure!((1..=99_999).contains(&receivers), "--receivers: expected 1 to 99999");
    measure_fanout(&target, &load, receivers).await?.publish(&target.files)
}

/// Has one client talk to this number of receivers.
pub(crate) async fn measure_fanout(
    target: &TargetArgs,
    load: &LoadArgs,
    receivers: usize,
) -> anyhow::Result<Report> {
    let title = format!("one to {receivers}, {}, {} bytes", load.pace_in_words(), load.size);
    let settings = json!({ "scenario": "fanout", "receivers": receivers, "load": load.json() });
    let everybody = receivers + 1;
    let group =
        Group { option: "--receivers", members: everybody, connected: everybody, senders: 1 };
    group.measure(target, load, title, settings).await
}

/// A group that is measured; the first `senders` of the first `connected` members talk.
struct Group {
    /// Which says how many are connected.
    option: &'static str,
    members: usize,
    connected: usize,
    senders: usize,
}

impl Group {
    async fn measure(
        &self,
        target_args: &TargetArgs,
        load: &LoadArgs,
        title: String,
        settings: serde_json::Value,
    ) -> anyhow::Result<Report> {
        connect::check(self.option, self.connected)?;
        let pace = load.pace(self.senders)?;
        let target = target_args.target()?;
        let watched = target_args.watched(&target);
        let members: Vec<String> =
            (0..self.members).map(|number| target.account(number)).collect::<Result<_, _>>()?;
        // The owner comes first: members who are there are told of a new group, with all its
        // members, and in a large one that alone is gigabytes.
        let mut connections = connect::some(&target, 0..1).await?;
        let owner = connections.first_mut().context("a group has an owner")?;
        let group = create(owner, members).await?;
        connections.extend(connect::some(&target, 1..self.connected).await?);
        let run = Run::new(self.connected as u64 - 1);
        let mut crowd = Crowd::new(self.connected);
        for (number, connection) in connections.into_iter().enumerate() {
            let sending = (number < self.senders).then(|| Sending {
                command: command::CHAT_GROUP_TALK,
                dest: group.clone(),
                pace,
                size: load.size,
            });
            crowd.join(Client::new(number, run.clone(), connection), sending);
        }
        crowd.start().await;
        let measured = run.measure(load.warm_up, load.duration, &watched).await?;
        let tally = crowd.end().await?;
        Ok(Report { title, settings, measured, totals: run.totals(), tally })
    }
}

/// Makes a group of which the first member is the owner. Gives its id.
async fn create((reader, writer): &mut Connection, members: Vec<String>) -> anyhow::Result<String> {
    let request = GroupCreateReq { name: "bench".to_owned(), members, ..GroupCreateReq::default() };
    let body = request.encode_to_vec().into();
    writer.send([LogicPacket::request(command::CHAT_GROUP_CREATE, 2, "", body).encode()]).await?;
    loop {
        let packet = reader.next().await?;
        if is_push(&packet) {
            continue;
        }
        if packet.header.status != Status::Success.code() {
            bail!(
                "the group was refused with status {}; more members than groups.members_max of the logic servers?",
                packet.header.status
            );
        }
        return Ok(GroupCreateResp::decode(packet.body)?.group_id);
    }
}
