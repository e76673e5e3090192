//! What may happen in a day.

use proptest::{collection::vec, prelude::*};

/// Accounts in a day.
pub(super) const ACCOUNTS: usize = 4;
/// Devices, and whose they are.
pub(super) const DEVICES: [(usize, &str); 6] =
    [(0, "phone"), (1, "phone"), (2, "phone"), (3, "phone"), (0, "laptop"), (1, "laptop")];

/// Most groups in a day.
pub(super) const GROUPS: usize = 3;

/// What happens next. Numbers count around: of clients, those online, of devices, those offline.
#[derive(Clone, Debug)]
pub enum Op {
    /// A device comes online.
    Come {
        /// Which of those offline.
        device: usize,
        /// At which gateway.
        gateway: usize,
    },
    /// A new session displaces the one of the same device.
    Displace {
        /// Which client.
        client: usize,
        /// At which gateway.
        gateway: usize,
    },
    /// A client logs out.
    Leave {
        /// Which client.
        client: usize,
        /// Once it has got all that there is.
        is_sated: bool,
    },
    /// A client goes without a word, right after it began to say something.
    Vanish {
        /// Which client.
        client: usize,
        /// To which account, or past those to which group.
        to: usize,
        /// For how many turns of the scheduler it stays.
        turns: usize,
    },
    /// An old client comes and goes.
    Fetch(Fetch),
    /// Clients do something at the same time.
    Together(Vec<Deed>),
    /// The same, while a logic server is killed; another follows it.
    Kill {
        /// Which of them.
        logic: usize,
        /// After how many answers.
        answers: usize,
        /// What is done.
        meanwhile: Vec<Deed>,
    },
}

/// What an old client does.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// On which of the devices offline.
    pub device: usize,
    /// At which gateway.
    pub gateway: usize,
    /// Which of the messages that it is listed it acknowledges.
    pub entry: usize,
    /// It has read the contents of all of them.
    pub reads: bool,
    /// It acknowledges by asking for what follows.
    pub by_index: bool,
}

/// Something that a client does.
#[derive(Clone, Debug)]
pub struct Deed {
    /// Which client.
    pub client: usize,
    /// What.
    pub act: Act,
}

/// What a client may do.
#[derive(Clone, Debug)]
pub enum Act {
    /// Says something to an account, perhaps its own.
    Tell(usize),
    /// Says something to a group.
    Say(Which),
    /// Says again, under the same id, what it said last.
    Again,
    /// Makes a group.
    Create {
        /// Whether anybody may join.
        open: bool,
        /// Which accounts are in it.
        members: [bool; ACCOUNTS],
    },
    /// Joins a group.
    Join(Which),
    /// Quits a group.
    Quit(Which),
    /// Brings an account into a group.
    Add(Which, usize),
    /// Takes an account out of a group.
    Remove(Which, usize),
    /// Acknowledges what it has got, but for so many messages of each conversation.
    Ack(usize),
}

/// Names a group.
#[derive(Clone, Copy, Debug)]
pub enum Which {
    /// One of those that the client is in.
    Own(usize),
    /// Any.
    Any(usize),
}

/// A day, as random as it gets. In most of them, no server is killed.
pub fn day(most: usize) -> impl Strategy<Value = Vec<Op>> {
    let ops = move |kills| vec(op(kills), most / 2..=most);
    prop_oneof![3 => ops(0), 2 => ops(2)]
}

fn op(kills: u32) -> impl Strategy<Value = Op> {
    let (client, gateway) = (0..DEVICES.len(), 0usize..2);
    prop_oneof![
        40 => vec(deed(), 1..=5).prop_map(Op::Together),
        8 => (client.clone(), gateway.clone())
            .prop_map(|(device, gateway)| Op::Come { device, gateway }),
        2 => (client.clone(), gateway)
            .prop_map(|(client, gateway)| Op::Displace { client, gateway }),
        3 => (client.clone(), any::<bool>())
            .prop_map(|(client, is_sated)| Op::Leave { client, is_sated }),
        2 => (client, 0..ACCOUNTS * 2, 0usize..40)
            .prop_map(|(client, to, turns)| Op::Vanish { client, to, turns }),
        5 => fetch().prop_map(Op::Fetch),
        kills => (0usize..2, 0usize..4, vec(deed(), 4..=10))
            .prop_map(|(logic, answers, meanwhile)| Op::Kill { logic, answers, meanwhile }),
    ]
}

fn fetch() -> impl Strategy<Value = Fetch> {
    let what = (0..DEVICES.len(), 0usize..2, 0usize..20, any::<bool>(), any::<bool>());
    what.prop_map(|(device, gateway, entry, reads, by_index)| Fetch {
        device,
        gateway,
        entry,
        reads,
        by_index,
    })
}

fn deed() -> impl Strategy<Value = Deed> {
    (0..DEVICES.len(), act()).prop_map(|(client, act)| Deed { client, act })
}

fn act() -> impl Strategy<Value = Act> {
    let account = 0..ACCOUNTS;
    prop_oneof![
        8 => account.clone().prop_map(Act::Tell),
        20 => which(7).prop_map(Act::Say),
        1 => Just(Act::Again),
        1 => (any::<bool>(), any::<[bool; ACCOUNTS]>())
            .prop_map(|(open, members)| Act::Create { open, members }),
        3 => which(0).prop_map(Act::Join),
        4 => which(7).prop_map(Act::Quit),
        6 => (which(7), account.clone()).prop_map(|(group, who)| Act::Add(group, who)),
        3 => (which(3), account).prop_map(|(group, who)| Act::Remove(group, who)),
        6 => (0usize..3).prop_map(Act::Ack),
    ]
}

/// One of the client's own as often as it says, to one of any.
fn which(own: u32) -> impl Strategy<Value = Which> {
    prop_oneof![own => (0..GROUPS).prop_map(Which::Own), 1 => (0..GROUPS).prop_map(Which::Any)]
}
