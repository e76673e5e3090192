//! What every device of every account sent, was answered and was shown, with times.

mod verdict;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

pub use self::verdict::Verdict;
use crate::eventually;

/// How a request to talk ended for the device that sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Stored, at this place.
    Accepted {
        /// The conversation.
        conversation: String,
        /// The sequence in it.
        seq: u64,
    },
    /// Answered with an error.
    Refused(String),
    /// The connection ended without an answer: stored or not.
    Lost,
}

/// How a device of a kind behaves, and so what it is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Everything since its first login, and what other devices of its account send; each message
    /// once, in order.
    Everything,
    /// Everything that others send since its first login.
    FromOthers,
    /// Everything that others send while it stays connected, each sender's messages to a
    /// conversation in their order.
    WhileConnected,
}

/// A message as it came to a device.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The conversation.
    pub conversation: String,
    /// The sequence in it.
    pub seq: u64,
    /// Text of the message: device and number of its sender, by [`Chronicle::sends`].
    pub body: String,
}

/// Number of a device in the chronicle.
pub type DeviceId = usize;

/// Shared by all devices of a test. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Chronicle {
    record: Arc<Mutex<Record>>,
}

/// A request to talk.
#[derive(Debug)]
struct Sent {
    device: DeviceId,
    to: String,
    number: u64,
    began: Instant,
    ended: Option<(Instant, Ending)>,
}

/// A time of being connected.
#[derive(Clone, Copy, Debug)]
struct Session {
    from: Instant,
    until: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Arrived {
    arrival: Arrival,
    session: usize,
    life: usize,
}

#[derive(Debug)]
struct Device {
    account: String,
    name: String,
    promise: Promise,
    /// Processes that were this device.
    lives: usize,
    sessions: Vec<Session>,
    arrived: Vec<Arrived>,
    /// First arrival at each place.
    places: HashMap<(String, u64), Instant>,
    /// Numbers given to its own messages.
    numbers: u64,
}

#[derive(Debug, Default)]
struct Record {
    devices: Vec<Device>,
    sent: Vec<Sent>,
    groups: HashMap<String, HashSet<String>>,
    healed: Option<Instant>,
    faults: Vec<String>,
}

impl Chronicle {
    /// From now on, what is sent to this name is for all of these accounts.
    pub fn group(&self, name: &str, members: impl IntoIterator<Item = String>) {
        self.lock().groups.insert(name.to_owned(), members.into_iter().collect());
    }

    /// A process that is this device of an account starts.
    pub fn starts(&self, account: &str, name: &str, promise: Promise) -> DeviceId {
        let mut record = self.lock();
        let same = |device: &Device| device.account == account && device.name == name;
        let id = record.devices.iter().position(same).unwrap_or_else(|| {
            record.devices.push(Device {
                account: account.to_owned(),
                name: name.to_owned(),
                promise,
                lives: 0,
                sessions: Vec::new(),
                arrived: Vec::new(),
                places: HashMap::new(),
                numbers: 0,
            });
            record.devices.len() - 1
        });
        record.devices[id].lives += 1;
        id
    }

    /// A device is logged in.
    pub fn logs_in(&self, id: DeviceId) {
        self.lock().devices[id].sessions.push(Session { from: Instant::now(), until: None });
    }

    /// A device's connection ended.
    pub fn loses(&self, id: DeviceId) {
        if let Some(last) = self.lock().devices[id].sessions.last_mut() {
            last.until.get_or_insert_with(Instant::now);
        }
    }

    /// A device sends its next message: gives its number and text.
    pub fn sends(&self, id: DeviceId, to: &str) -> (u64, String) {
        let mut record = self.lock();
        let device = &mut record.devices[id];
        device.numbers += 1;
        let number = device.numbers;
        let body = format!("{}/{} {number}", device.account, device.name);
        let (to, began) = (to.to_owned(), Instant::now());
        record.sent.push(Sent { device: id, to, number, began, ended: None });
        (number, body)
    }

    /// A device learns how its message ended.
    ///
    /// # Panics
    /// When it was not sent, or ended before.
    pub fn ends(&self, id: DeviceId, number: u64, ending: Ending) {
        let mut record = self.lock();
        let ours = |sent: &&mut Sent| sent.device == id && sent.number == number;
        let sent = record.sent.iter_mut().rev().find(ours).expect("only what was sent can end");
        assert!(sent.ended.is_none(), "message {number} of device {id} ended twice");
        sent.ended = Some((Instant::now(), ending));
    }

    /// A message comes to a device.
    pub fn arrives(&self, id: DeviceId, arrival: Arrival) {
        let mut record = self.lock();
        let device = &mut record.devices[id];
        let at = Instant::now();
        let place = (arrival.conversation.clone(), arrival.seq);
        device.places.entry(place).or_insert(at);
        let session = device.sessions.len();
        let life = device.lives;
        device.arrived.push(Arrived { arrival, session, life });
    }

    /// Something happened that must not.
    pub fn faults(&self, id: DeviceId, what: &str) {
        let mut record = self.lock();
        let device = &record.devices[id];
        let fault = format!("{}/{}: {what}", device.account, device.name);
        record.faults.push(fault);
    }

    /// Everything is in order again from now on: what is pushed is late after some time.
    pub fn heals(&self) {
        self.lock().healed = Some(Instant::now());
    }

    /// How many messages were accepted.
    pub fn accepted(&self) -> usize {
        self.lock().accepted().count()
    }

    /// When messages of an account were accepted, ascending.
    pub fn acceptances(&self, account: &str) -> Vec<Instant> {
        let record = self.lock();
        let of = |sent: &&Sent| record.devices[sent.device].account == account;
        let mut times: Vec<Instant> =
            record.accepted().filter(of).filter_map(|sent| Some(sent.ended.as_ref()?.0)).collect();
        times.sort();
        times
    }

    /// Whether a device has logged in, and its connection lives.
    pub fn is_online(&self, id: DeviceId) -> bool {
        let record = self.lock();
        record.devices[id].sessions.last().is_some_and(|session| session.until.is_none())
    }

    /// How many messages from others a device has; the same one twice counts once.
    pub fn places(&self, id: DeviceId) -> usize {
        self.lock().devices[id].places.len()
    }

    /// Whether a device has the message at this place.
    pub fn has(&self, id: DeviceId, conversation: &str, seq: u64) -> bool {
        self.lock().devices[id].places.contains_key(&(conversation.to_owned(), seq))
    }

    /// Waits until everything is answered, every device is online, and has what it is promised, for
    /// at most this time; then judges.
    pub async fn settles(&self, within: Duration) -> Verdict {
        let until = Instant::now() + within;
        loop {
            let verdict = self.verdict();
            if verdict.is_complete() || Instant::now() > until {
                return verdict;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Waits until this number of messages is accepted.
    pub async fn until_accepted(&self, messages: usize, within: Duration) {
        let what = format!("{messages} messages are accepted");
        eventually(within, &what, || async { (self.accepted() >= messages).then_some(()) }).await;
    }

    /// What can be said now.
    pub fn verdict(&self) -> Verdict {
        Verdict::of(&self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn accepted(&self) -> impl Iterator<Item = &Sent> {
        let is_accepted = |sent: &&Sent| matches!(sent.ended, Some((_, Ending::Accepted { .. })));
        self.sent.iter().filter(is_accepted)
    }
}
