//! Whether the promises were kept, and by how much not.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    time::{Duration, Instant},
};

use super::{Arrived, Device, DeviceId, Ending, Promise, Record, Sent, Session};

/// After healing, or after it was accepted, a message is pushed within this time without being asked
/// for.
const LATE: Duration = Duration::from_secs(10);
/// Time in which a login is known to all logic servers: only clients that ask get what is accepted
/// earlier.
const KNOWN: Duration = Duration::from_millis(250);
/// Examples in a report.
const SHOWN: usize = 8;

/// What a chronicle comes to.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Messages that were accepted.
    pub accepted: usize,
    /// Requests that were answered with an error.
    pub refused: usize,
    /// Messages that a device has not got, or requests without an answer.
    pub lost: Vec<String>,
    /// Messages that a connected device got later than it should have.
    pub late: Vec<String>,
    /// What breaks another promise.
    pub faults: Vec<String>,
    /// Arrivals of what the device had already; allowed but at the SDK.
    pub duplicates: usize,
}

impl Verdict {
    pub(super) fn of(record: &Record) -> Self {
        let mut verdict = Self { faults: record.faults.clone(), ..Self::default() };
        let names = Names::of(record);
        for (sent, name) in record.sent.iter().zip(&names.of_sent) {
            verdict.judge(record, sent, name);
        }
        verdict.places(record, &names);
        for device in &record.devices {
            verdict.device(device, &names);
        }
        verdict
    }

    /// Whether waiting any longer changes nothing.
    pub fn is_complete(&self) -> bool {
        self.lost.is_empty()
    }

    /// Whether everything was as it should be.
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty() && self.late.is_empty() && self.faults.is_empty()
    }

    /// Fails the test where a promise is broken.
    ///
    /// # Panics
    /// With examples of each kind.
    pub fn assert_clean(&self) {
        assert!(self.is_clean(), "{self}");
    }

    fn judge(&mut self, record: &Record, sent: &Sent, name: &str) {
        let Some((answered, ending)) = &sent.ended else {
            return self.lost.push(format!("{name} was never answered"));
        };
        let place = match ending {
            Ending::Accepted { conversation, seq } => (conversation.clone(), *seq),
            Ending::Refused(_) => return self.refused += 1,
            Ending::Lost => return,
        };
        self.accepted += 1;
        for device in record.devices.iter().filter(|device| is_promised(record, sent, device)) {
            let to = format!("{}/{} ({:?})", device.account, device.name, device.promise);
            let due = record.healed.map_or(*answered, |healed| healed.max(*answered)) + LATE;
            match device.places.get(&place) {
                None => self.lost.push(format!("{name} is missing at {to}")),
                Some(at) if device.promise == Promise::WhileConnected && *at > due => {
                    let late = *at - due;
                    self.late.push(format!("{name} came to {to} {late:.1?} after it was due"));
                }
                Some(_) => {}
            }
        }
    }

    /// A place holds one message, a message has one place, and one sender's places rise.
    fn places(&mut self, record: &Record, names: &Names) {
        let mut taken = HashMap::new();
        let mut last = HashMap::new();
        for (sent, name) in record.sent.iter().zip(&names.of_sent) {
            let Some((_, Ending::Accepted { conversation, seq })) = &sent.ended else { continue };
            if let Some(other) = taken.insert((conversation, *seq), name) {
                self.faults.push(format!("{name} and {other} share place {seq} of {conversation}"));
            }
            let before = last.insert((sent.device, conversation), *seq);
            if before.is_some_and(|before| before > *seq) {
                self.faults
                    .push(format!("{name} is stored before the one that was sent before it"));
            }
        }
        let mut homes = HashMap::new();
        for arrived in record.devices.iter().flat_map(|device| &device.arrived) {
            let place = (&arrived.arrival.conversation, arrived.arrival.seq);
            let home = homes.entry(&arrived.arrival.body).or_insert(place);
            if *home != place {
                let (body, seq) = (&arrived.arrival.body, home.1);
                self.faults.push(format!("{body:?} is at place {seq} and at {}", place.1));
            }
            let body = format!("{} to", arrived.arrival.body);
            if let Some(owner) = taken.get(&place).filter(|name| !name.starts_with(&body)) {
                self.faults.push(format!("{:?} is at the place of {owner}", arrived.arrival.body));
            }
        }
    }

    fn device(&mut self, device: &Device, names: &Names) {
        let name = format!("{}/{}", device.account, device.name);
        if device.sessions.last().is_none_or(|session| session.until.is_some()) {
            self.lost.push(format!("{name} is not online"));
        }
        let mut seen = HashSet::new();
        let (mut last_seq, mut last_number) = (HashMap::new(), HashMap::new());
        for Arrived { arrival, session, life } in &device.arrived {
            let body = &arrival.body;
            // What reads only is at the mercy of each connection; an SDK, of each process.
            let scope = if device.promise == Promise::Everything { life } else { session };
            if !seen.insert((*scope, &arrival.conversation, arrival.seq)) {
                self.duplicates += 1;
                if device.promise == Promise::Everything {
                    self.faults.push(format!("{body:?} is shown twice by {name}"));
                }
                continue;
            }
            let Some((sender, number)) = names.accepted.get(body) else { continue };
            match device.promise {
                Promise::FromOthers => {}
                Promise::Everything => {
                    let before = last_seq.insert((*scope, &arrival.conversation), arrival.seq);
                    if before.is_some_and(|before| before > arrival.seq) {
                        self.faults.push(format!("{body:?} is shown out of order by {name}"));
                    }
                }
                Promise::WhileConnected => {
                    let of = (*scope, &arrival.conversation, *sender);
                    if let Some(before) = last_number.insert(of, *number)
                        && before > *number
                    {
                        self.faults.push(format!("{body:?} came to {name} after number {before}"));
                    }
                }
            }
        }
    }
}

/// Whether a device is to get an accepted message.
fn is_promised(record: &Record, sent: &Sent, device: &Device) -> bool {
    let sender = &record.devices[sent.device];
    if sender.account == device.account && sender.name == device.name {
        return false;
    }
    let is_own = sender.account == device.account;
    let is_for = match record.groups.get(&sent.to) {
        Some(members) => members.contains(&device.account),
        None => sent.to == device.account,
    };
    let had = |session: &Session| session.from <= sent.began;
    match device.promise {
        Promise::Everything => (is_for || is_own) && device.sessions.first().is_some_and(had),
        Promise::FromOthers => is_for && !is_own && device.sessions.first().is_some_and(had),
        Promise::WhileConnected => {
            let last = device.sessions.last().filter(|session| session.until.is_none());
            is_for && !is_own && last.is_some_and(|last| last.from + KNOWN <= sent.began)
        }
    }
}

/// How messages are called in a report.
struct Names {
    of_sent: Vec<String>,
    /// Sending device and number of each accepted message, by its text.
    accepted: HashMap<String, (DeviceId, u64)>,
}

impl Names {
    fn of(record: &Record) -> Self {
        let start = record.sent.first().map_or_else(Instant::now, |sent| sent.began);
        let (mut of_sent, mut accepted) = (Vec::new(), HashMap::new());
        for sent in &record.sent {
            let device = &record.devices[sent.device];
            let body = format!("{}/{} {}", device.account, device.name, sent.number);
            let began = sent.began - start;
            of_sent.push(format!("{body} to {} (sent at {began:.1?})", sent.to));
            if matches!(sent.ended, Some((_, Ending::Accepted { .. }))) {
                accepted.insert(body, (sent.device, sent.number));
            }
        }
        Self { of_sent, accepted }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} accepted, {} refused", self.accepted, self.refused)?;
        for (what, of) in [("lost", &self.lost), ("late", &self.late), ("faults", &self.faults)] {
            write!(f, ", {} {what}", of.len())?;
            for example in of.iter().take(SHOWN) {
                write!(f, "\n  {example}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
